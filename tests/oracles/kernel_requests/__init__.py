"""What single operations requested from the allocator of a GPU, as `scripts/dev/gpu/kernel_requests.py` recorded it.

`measured` reads the record, `predicted` runs the same calls in a simulation, `known_differences` says what is known to differ.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3] / "scripts"))  # where the calls are
