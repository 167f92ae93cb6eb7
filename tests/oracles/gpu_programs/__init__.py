"""What programs of `scripts/dev/gpu/programs.py` asked of the allocator of a real GPU, and how much it reserved for them.

`h100_torch_2_11.json.gz` is from an NVIDIA H100 80GB HBM3 (81559 MiB), `h200_torch_2_11.json.gz` from an NVIDIA H200 (143771 MiB), both
with driver 580.159.04 and torch 2.11.0+cu130 on 2026-11-28: three optimizer steps of one rank each. The 55 programs that ran on both have
the same peaks on both, to the byte. `scripts/dev/validate_on_gpu.py` writes such files, in the form that
`scripts/dev/gpu/reduced_programs.py` describes; `scripts/dev/gpu/compare_programs.py` writes docs/accuracy_on_a_gpu.md from the two.

`h100_times.json.gz` and `h200_times.json.gz` have what steps of some of them took, on the same cards and day (`programs.py --mode time`):
milliseconds between CUDA events and on the host, and of the last step the profiler's operations and kernels in microseconds.
"""

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

CARDS = {"h100-80gb": "h100_torch_2_11.json.gz", "h200": "h200_torch_2_11.json.gz"}
"""Files by the names that the catalogue has for the cards."""


@cache
def document(card: str) -> dict[str, Any]:
    """What ran on that card, with its environment."""
    with gzip.open(Path(__file__).with_name(CARDS[card]), "rt") as file:
        content: dict[str, Any] = json.load(file)
    return content


def measured(card: str) -> dict[str, Any]:
    """The programs that ran on that card, by name."""
    programs: dict[str, Any] = document(card)["programs"]
    return programs
