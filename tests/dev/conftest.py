"""The scripts of `scripts/dev` are imported as they import each other: `from dev.step_time import ...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
