"""Writes a history of this directory from a pickle that `torch.cuda.memory._dump_snapshot` wrote on a GPU.

    python -m tests.oracles.memory_snapshots.convert snapshot.pickle NAME SOURCE

The trace of a snapshot may begin in the middle of a program. What was there before follows from what is there at the end, by undoing each
event. Of a block that was allocated before the trace and freed in it only the request is known; the block was larger where what followed
it was too small to be split off, which shows in the address of a later block behind it.

Takes snapshots of one device and of the default stream, without expandable segments.
"""

import io
import pickle
import sys
from bisect import bisect_right
from pathlib import Path
from typing import Any

from tests.oracles.memory_snapshots.recorded import (
    ALLOCATE,
    FREE,
    NEW_SEGMENT,
    RELEASE,
    History,
    RecordedBlock,
    RecordedSegment,
    write,
)

LARGEST_UNSPLIT_REST = 1024**2
"""kSmallSize, c10/core/AllocatorConfig.h."""


class _Plain(pickle.Unpickler):
    """Of a file from elsewhere: numbers, texts and containers alone."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain data")


def history_of(snapshot: dict[str, Any], source: str) -> History:
    """The history of the only device that has one.

    Raises:
        ValueError: there are several devices, streams, or expandable segments.
    """
    (trace,) = (trace for trace in snapshot["device_traces"] if trace)
    segments = {each["address"]: each for each in snapshot["segments"]}
    if any(each["device"] or each["stream"] or each.get("is_expandable") for each in segments.values()):
        raise ValueError("several devices, streams, or expandable segments")
    sizes = {address: each["total_size"] for address, each in segments.items()}
    kinds = {address: each["segment_type"] == "small" for address, each in segments.items()}
    alive: dict[int, tuple[int, int]] = {}
    for address, each in segments.items():
        at = address
        for block in each["blocks"]:
            if block["state"] != "inactive":
                alive[at] = (block["size"], block["requested_size"])
            at += block["size"]
    after = _segments(sizes, kinds, alive)
    return History(source=source, before=_undone(trace, sizes, kinds, alive), events=tuple(_events(trace)), after=after)


def _segments(sizes: dict[int, int], kinds: dict[int, bool], alive: dict[int, tuple[int, int]]) -> tuple[RecordedSegment, ...]:
    starts = sorted(sizes)
    blocks: dict[int, list[RecordedBlock]] = {address: [] for address in starts}
    for at in sorted(alive):
        nbytes, requested = alive[at]
        blocks[starts[bisect_right(starts, at) - 1]].append(RecordedBlock(address=at, nbytes=nbytes, requested_bytes=requested))
    found = []
    for address, of in blocks.items():
        nbytes = sizes[address]
        is_small = kinds.get(address, nbytes == 2 * 1024**2)  # one that was given back is not in the snapshot
        found.append(RecordedSegment(address=address, nbytes=nbytes, is_small=is_small, blocks=tuple(of)))
    return tuple(found)


def _undone(
    trace: list[dict[str, Any]], sizes: dict[int, int], kinds: dict[int, bool], alive: dict[int, tuple[int, int]]
) -> tuple[RecordedSegment, ...]:
    sizes, alive = dict(sizes), dict(alive)
    for event in reversed(trace):
        at, nbytes = event["addr"], event["size"]
        match event["action"]:
            case "alloc":
                del alive[at]
            case "free_completed":
                alive[at] = (0, nbytes)
            case "segment_alloc":
                del sizes[at]
            case "segment_free":
                sizes[at] = nbytes
    allocated_at = sorted({event["addr"] for event in trace if event["action"] == "alloc"})
    ends = sorted([*alive, *(address + nbytes for address, nbytes in sizes.items())])
    for at, (nbytes, requested) in alive.items():
        if not nbytes:
            end = at + max(512, -(-requested // 512) * 512)
            following = [other for other in (_next(allocated_at, at), _next(ends, at)) if other is not None]
            rest = min(following) - end
            is_unsplit = requested > LARGEST_UNSPLIT_REST and 0 < rest <= LARGEST_UNSPLIT_REST
            alive[at] = (end - at + (rest if is_unsplit else 0), requested)
    return _segments(sizes, kinds, alive)


def _next(sorted_addresses: list[int], address: int) -> int | None:
    at = bisect_right(sorted_addresses, address)
    return sorted_addresses[at] if at < len(sorted_addresses) else None


def _events(trace: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    events: list[tuple[Any, ...]] = []
    released: list[int] = []
    for event in trace:
        at, nbytes = event["addr"], event["size"]
        match event["action"]:
            case "segment_free":
                released.append(at)
                continue
            case "alloc" | "segment_alloc" if released:
                events.append((RELEASE, *sorted(released)))
                released = []
        match event["action"]:
            case "alloc":
                events.append((ALLOCATE, nbytes, at))
            case "free_completed":
                events.append((FREE, at))
            case "segment_alloc":
                events.append((NEW_SEGMENT, nbytes, at))
    return events


if __name__ == "__main__":
    path, name, source = sys.argv[1:]
    write(history_of(_Plain(io.BytesIO(Path(path).read_bytes())).load(), source), name)
