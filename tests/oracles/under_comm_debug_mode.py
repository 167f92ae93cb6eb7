"""Runs a script under torch's own CommDebugMode and writes, for each rank, how many communications it counted, by operator.

torchrun ... under_comm_debug_mode.py OUT_DIR script.py [script args]
"""

import json
import os
import runpy
import sys
from pathlib import Path

from torch.distributed.tensor.debug import CommDebugMode


def main() -> None:
    directory, script, *args = sys.argv[1:]
    sys.argv = [script, *args]
    sys.path[0] = str(Path(script).parent.resolve())
    with CommDebugMode() as mode:
        runpy.run_path(script, run_name="__main__")
    counts = {str(operator): count for operator, count in mode.get_comm_counts().items()}
    Path(directory, f"rank_{os.environ['RANK']}.counts.json").write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
