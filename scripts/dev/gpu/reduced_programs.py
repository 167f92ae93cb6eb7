"""What is kept of a measurement by programs.py: the form of the files in tests/oracles/gpu_programs, written and read.

Of each program: its settings of the allocator, the counters of `torch.cuda.memory_stats` after its last step, its segments at the end as
rows `[bytes, type, on the default stream, expandable, in a private pool, how many]`, and of some programs their `events` in order: the
bytes of a request, or [bytes, stream] in another stream than the default one; -n completes the free of the n-th request.

The readers take a program of either form.
"""

import gzip
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

ENVIRONMENT = ("device", "torch", "cuda", "date")


class SegmentKind(NamedTuple):
    """What segments that are compared have in common: addresses and the numbers of streams differ from process to process."""

    nbytes: int
    segment_type: str
    on_default_stream: bool
    is_expandable: bool
    in_private_pool: bool


def reduced(document: Mapping[str, Any], with_events: Collection[str]) -> bytes:
    """The file of what programs.py has written, without the programs that failed."""
    programs = {}
    for name, program in document["programs"].items():
        if "error" in program:
            continue
        programs[name] = {
            "settings": program["program"]["settings"],
            "counters": counters_of(program),
            "segments": [[*kind, count] for kind, count in sorted(segments_of(program).items())],
            **({"events": list(_events(program["trace"]))} if name in with_events else {}),
        }
    environment = {key: document["environment"][key] for key in ENVIRONMENT}
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


def counters_of(program: Mapping[str, Any]) -> dict[str, int]:
    """`torch.cuda.memory_stats` after the last step."""
    counters: dict[str, int] = program["stats"][-1] if "stats" in program else program["counters"]
    return counters


def segments_of(program: Mapping[str, Any]) -> "Counter[SegmentKind]":
    """How many segments of which kind there are at the end."""
    if "stats" not in program:
        return Counter({SegmentKind(*row[:-1]): row[-1] for row in program["segments"]})
    return Counter(
        SegmentKind(
            nbytes=segment["total_size"],
            segment_type=segment["segment_type"],
            on_default_stream=segment["stream"] == 0,
            is_expandable=bool(segment.get("is_expandable")),
            in_private_pool=any(segment.get("segment_pool_id", ())),
        )
        for segment in program["segments"]
    )


def trace_of(program: Mapping[str, Any]) -> Iterator[Sequence[Any]]:
    """Requests and frees as [action, address, bytes, stream]; in the reduced form the number of a request is its address."""
    if "trace" in program:
        yield from program["trace"]
        return
    sizes: list[tuple[int, int]] = []
    for event in program.get("events", ()):
        if isinstance(event, int) and event < 0:
            yield "free_requested", -event - 1, *sizes[-event - 1]
        else:
            sizes.append((event[0], event[1]) if isinstance(event, list) else (event, 0))
            yield "alloc", len(sizes) - 1, *sizes[-1]
