"""What programs of `scripts/dev/gpu/programs.py` asked of the allocator of a real GPU, and how much it reserved for them.

`h100_torch_2_11.json.gz` is from an NVIDIA H100 80GB HBM3 (81559 MiB), `h200_torch_2_11.json.gz` from an NVIDIA H200 (143771 MiB), both
with driver 580.159.04 and torch 2.11.0+cu130 on 2026-11-28: three optimizer steps of one rank each. The 55 programs that ran on both have
the same peaks on both, to the byte. `keep` reduces the file of a measurement to this form. Of each program: its settings of the allocator,
its peaks in bytes, and of some their `events` in order: the bytes of a request, or [bytes, stream] in another stream than the default one;
-n completes the free of the n-th request. `scripts/dev/gpu/compare_programs.py` writes docs/accuracy_on_a_gpu.md from the two.

`h100_times.json.gz` and `h200_times.json.gz` have what steps of some of them took, on the same cards and day (`programs.py --mode time`):
milliseconds between CUDA events and on the host, and of the last step the profiler's operations and kernels in microseconds.
"""

import gzip
import json
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

CARDS = {"h100-80gb": "h100_torch_2_11.json.gz", "h200": "h200_torch_2_11.json.gz"}
"""Files by the names that the catalogue has for the cards."""


@cache
def measured(card: str) -> dict[str, Any]:
    """The programs that ran on that card, by name."""
    with gzip.open(Path(__file__).with_name(CARDS[card]), "rt") as file:
        programs: dict[str, Any] = json.load(file)["programs"]
    return programs


def keep(document: dict[str, Any], with_events: Collection[str]) -> bytes:
    """The reduced file of one that programs.py has written."""
    programs = {}
    for name, program in document["programs"].items():
        last = program["stats"][-1]
        peaks = {kind: last[f"{kind}_bytes.all.peak"] for kind in ("allocated", "reserved")}
        events = {"events": list(_events(program["trace"]))} if name in with_events else {}
        programs[name] = {"settings": program["program"]["settings"], **peaks, **events}
    environment = {key: document["environment"][key] for key in ("device", "torch", "cuda", "date")}
    kept = {"environment": environment, "steps": document["steps"], "programs": programs}
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
