"""Run a record script of modded-nanogpt on tokens that are all 0, and without the `nvidia-smi` that it prints: no download, no driver.

torchrun --nproc-per-node 8 scripts/dev/published/modded_nanogpt_on_zeros.py CLONE/records/101024_Muon/train_gpt2.py
"""

import argparse
import os
import runpy
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path

MAGIC, VERSION, HEADER_NUMBERS = 20240520, 1, 256
TOKENS = 2**20
"""More than the largest batch of all ranks: 8 x 64 x 1024, and one."""


def write_tokens(path: Path) -> None:
    """A data file: a header of 256 numbers of 4 bytes, and tokens of 2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = array("i", [MAGIC, VERSION, TOKENS, *[0] * (HEADER_NUMBERS - 3)])
    path.write_bytes(header.tobytes() + bytes(2 * TOKENS))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a record script of modded-nanogpt on tokens that are 0.")
    parser.add_argument("script", type=Path)
    script = parser.parse_args().script.resolve()
    with tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        for kind in ("train", "val"):
            write_tokens(Path("data/fineweb10B") / f"fineweb_{kind}_000000.bin")
        sys.argv = [str(script)]
        subprocess.run = lambda *args, **kwargs: subprocess.CompletedProcess(args, 0, stdout="")  # type: ignore[assignment]
        runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
