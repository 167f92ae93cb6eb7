"""What programs of `scripts/dev/gpu/programs.py` asked of the allocator of a real GPU, and how much it reserved for them.

`h200_torch_2_11.json.gz` is from an NVIDIA H200 (143771 MiB, driver 580.159.04, torch 2.11.0+cu130, 2026-11-28): three optimizer steps
of one rank each. `keep` reduces the file of a measurement to this form. Of each program: its settings of the allocator, its peaks in
bytes, and its `events` in order: the bytes of a request, or [bytes, stream] in another stream than the default one; -n completes the
free of the n-th request.
"""

import gzip
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

H200 = Path(__file__).with_name("h200_torch_2_11.json.gz")


@cache
def measured() -> dict[str, Any]:
    with gzip.open(H200, "rt") as file:
        document: dict[str, Any] = json.load(file)
    return document


def keep(programs: dict[str, Any], names: Iterable[str]) -> bytes:
    """The reduced file of these programs of a file that programs.py has written."""
    kept = {}
    for name in names:
        program, last = programs[name], programs[name]["stats"][-1]
        peaks = {kind: last[f"{kind}_bytes.all.peak"] for kind in ("allocated", "reserved")}
        kept[name] = {"settings": program["program"]["settings"], **peaks, "events": list(_events(program["trace"]))}
    return gzip.compress(json.dumps(kept, separators=(",", ":")).encode(), mtime=0)


def _events(trace: Sequence[Sequence[Any]]) -> Iterable[Any]:
    numbers: dict[int, int] = {}
    count = 0
    for action, address, nbytes, stream in trace:
        if action == "alloc":
            count += 1
            numbers[address] = count
            yield [nbytes, stream] if stream else nbytes
        elif action == "free_completed" and address in numbers:
            yield -numbers.pop(address)
