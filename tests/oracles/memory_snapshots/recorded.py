"""A recorded history of an allocator, read from a file of this directory."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent

ALLOCATE, FREE, NEW_SEGMENT, RELEASE = "a", "f", "s", "r"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBlock:
    """An allocated block: address, what the allocator counts for it, what was requested. In bytes."""

    address: int
    nbytes: int
    requested_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedSegment:
    """A segment with its allocated blocks; all else of it is free."""

    address: int
    nbytes: int
    is_small: bool
    blocks: tuple[RecordedBlock, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What happened between two states of an allocator.

    Events: `[ALLOCATE, requested bytes, address]`; `[FREE, address]`; `[NEW_SEGMENT, bytes, address]`, which the next allocation needs;
    `[RELEASE, address, ...]`, the segments that were given back before the next allocation.
    """

    source: str
    before: tuple[RecordedSegment, ...]
    events: tuple[tuple[Any, ...], ...]
    after: tuple[RecordedSegment, ...]


def names() -> list[str]:
    """The histories in the directory."""
    return sorted(path.name.removesuffix(".json.gz") for path in DIRECTORY.glob("*.json.gz"))


def read(name: str) -> History:
    document = json.loads(gzip.decompress((DIRECTORY / f"{name}.json.gz").read_bytes()))
    return History(
        source=document["source"],
        before=tuple(map(_segment, document["before"])),
        events=tuple(map(tuple, document["events"])),
        after=tuple(map(_segment, document["after"])),
    )


def write(history: History, name: str) -> None:
    document = {
        "source": history.source,
        "before": list(map(_plain, history.before)),
        "events": history.events,
        "after": list(map(_plain, history.after)),
    }
    text = json.dumps(document, separators=(",", ":"))
    (DIRECTORY / f"{name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def _segment(plain: list[Any]) -> RecordedSegment:
    address, nbytes, is_small, blocks = plain
    found = (RecordedBlock(address=at, nbytes=size, requested_bytes=requested) for at, size, requested in blocks)
    return RecordedSegment(address=address, nbytes=nbytes, is_small=is_small, blocks=tuple(found))


def _plain(segment: RecordedSegment) -> list[Any]:
    blocks = [[block.address, block.nbytes, block.requested_bytes] for block in segment.blocks]
    return [segment.address, segment.nbytes, segment.is_small, blocks]
