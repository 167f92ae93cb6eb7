"""Asks `fakerun.allocator` what a recorded program asked a GPU's allocator, and compares after each event.

python -m tests.oracles.allocator_events.replay events.json.gz
"""

import gzip
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import accumulate, chain, takewhile, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from fakerun.allocator import AllocatorOutOfMemoryError, AllocatorSettings, Block, CachingAllocator
from fakerun.allocator.action import Action
from fakerun.allocator.history import HistoryEntry, RecordingAllocator
from fakerun.allocator.pending_frees import PendingFrees
from fakerun.allocator.settings import TorchVersion
from fakerun.allocator.sizes import MIB
from fakerun.allocator.snapshot import SegmentRecord
from fakerun.allocator.statistics import PoolId

FREE = "inactive"
MOST_STREAMS = 4
_AT_ONCE = (Action.FREE_COMPLETED, Action.SEGMENT_FREE, Action.SEGMENT_UNMAP)
"""What happens to many blocks at once has no order of ours: torch goes through its sets, which streams' addresses order."""

_OF_SEGMENTS = (Action.SEGMENT_ALLOC, Action.SEGMENT_FREE, Action.SEGMENT_MAP, Action.SEGMENT_UNMAP)


class DifferError(Exception):
    """The two allocators do not do the same."""


class Result(NamedTuple):
    """How many events, checks and actions were alike, and the first that was not."""

    events: int
    requests: int
    checks: int
    actions: int
    difference: str


class LateFrees(NamedTuple):
    """What a trace says of blocks that waited for other streams: their addresses, each with how many requests came before it was cached.

    `waited` are the requests for which torch waited for all of them.
    """

    cached: list[list[int]]
    waited: list[int]


def late_frees(part: dict[str, Any]) -> LateFrees:
    """From a whole trace. A block without uses on other streams is cached at once, and is none of them."""
    began = sum(action == Action.FREE_REQUESTED for action, *_ in part["prepared"]["trace"])
    at_once = chain([True] * began, frees_at_once(part["events"]))
    cached, waited = [], set()
    requests = 0
    is_at_once = False
    for action, address, *_ in part["trace"]:
        if action == Action.FREE_REQUESTED:
            is_at_once = next(at_once)
            waited.discard(requests)
        elif action == Action.FREE_COMPLETED:
            if not is_at_once:
                cached.append([requests, address])
            is_at_once = False
        elif action in (Action.SEGMENT_FREE, Action.SEGMENT_UNMAP):
            waited.add(requests)
        elif action in (Action.ALLOC, Action.OUT_OF_MEMORY):
            if action == Action.OUT_OF_MEMORY:
                waited.add(requests)
            requests += 1
    return LateFrees(cached, sorted(waited))


def frees_at_once(events: list[list[Any]]) -> Iterator[bool]:
    """Of each free, whether no other stream was said to use the block."""
    streams: dict[int, int] = {}
    used: set[int] = set()
    for letter, *operands in events:
        if letter == "a":
            streams[operands[0]] = operands[2]
        elif letter == "r" and operands[1] != streams[operands[0]]:
            used.add(operands[0])
        elif letter == "f":
            yield operands[0] not in used


class TracedPendingFrees(PendingFrees):
    """Caches blocks in the order of the GPU's, and where an event may or may not have been over, as the GPU did.

    When several streams are asked for events, which one is first depends on torch's hash of streams, and with it what neighbours merge
    in between, which counters show. An event that is recorded when a capture has ended is asked for at once, and a stream may become idle
    between the program's look and the allocator's (`uncertain`): then the trace decides.
    """

    def __init__(self, late: LateFrees) -> None:
        super().__init__()
        self.uncertain: set[int] = set()
        self._cached = [address for _, address in late.cached]
        self._by_request: dict[int, set[int]] = {}
        for request, address in late.cached:
            self._by_request.setdefault(request, set()).add(address)
        self._waited = set(late.waited)
        self._count = self._request = 0

    def begin_request(self, uncertain: set[int]) -> None:
        self.uncertain = uncertain
        self._request += 1

    def record_deferred(self) -> list[Block]:
        self.uncertain |= {stream for block in self._deferred for stream in block.stream_uses or ()}
        return self._in_order(super().record_deferred())

    def take_completed(self, *, at_once: bool) -> Iterator[Block]:
        request = self._request - 1
        seen = set() if request in self._waited else self._by_request.get(request, set())
        for stream in self.uncertain & set(self._events):
            if any(block.address in seen for block in self._events[stream]):
                self.complete(stream)
        self.uncertain = set()
        return iter(self._in_order(list(super().take_completed(at_once=at_once))))

    def take_all(self, belongs: Callable[[Block], bool]) -> Iterator[Block]:
        return iter(self._in_order(list(super().take_all(belongs))))

    def _in_order(self, blocks: list[Block]) -> list[Block]:
        following = self._cached[self._count : self._count + len(blocks)]
        self._count += len(blocks)
        position = {address: index for index, address in enumerate(following)}
        return sorted(blocks, key=lambda block: position.get(block.address, len(following)))


class Replay:
    """The allocator after the events so far. New segments come at the addresses that the GPU gave."""

    def __init__(self, part: dict[str, Any], torch_version: TorchVersion) -> None:
        settings = AllocatorSettings.parse(part["setting"], torch_version)
        self.allocator = RecordingAllocator(settings, total_bytes=part["total_bytes"], uses_end_at_once=False, context=lambda: None)
        self.allocator.device.reserve_addresses = self._next_address  # type: ignore[method-assign]
        watch = self.allocator._segments._watcher
        assert watch is not None
        self._watch = watch
        self.allocator._segments.watch(self._segment_changed)
        self._given: Iterator[list[Any]] = (entry for entry in part["trace"] if entry[0] in ("segment_alloc", "segment_map"))
        self._following = next(self._given, None)
        late = LateFrees(*part["late"]) if "late" in part else late_frees(part)
        self.pending = self.allocator._pending = TracedPendingFrees(late)
        self.blocks: dict[int, Block] = {}
        self.pools: dict[int, PoolId] = {}
        self.graphs: dict[int, PoolId] = {}
        self.by_letter: dict[str, Callable[..., None]] = {
            "a": self.allocate,
            "o": self.run_out_of_memory,
            "f": lambda block: self.allocator.free(self.blocks.pop(block)),
            "r": lambda block, stream: self.allocator.record_stream(self.blocks[block], stream),
            "b": lambda stream: None,
            "y": lambda graph: None,
            **dict.fromkeys("dDs", self.allocator.complete_uses),
            "e": self.allocator.empty_cache,
            "F": self.allocator.set_memory_fraction,
            "m": self.make_pool,
            "p": lambda pool: self.allocator.begin_pool(self.pools[pool]),
            "P": lambda pool: self.leave(self.pools[pool]),
            "x": self.delete_pool,
            "h": lambda graph, pool: self.graphs.update({graph: (pool[0], pool[1])}),
            "g": self.begin_capture,
            "G": lambda graph: self.allocator.end_pool(self.graphs[graph]),
            "z": lambda graph: self.allocator.release_pool(self.graphs.pop(graph)),
        }

    def prepare(self, trace: list[list[Any]]) -> None:
        """What torch itself allocated before the program began, and freed."""
        blocks = {}
        for action, address, nbytes, stream in trace:
            if action == "alloc":
                self.pending.begin_request(set())
                blocks[address] = self.allocator.allocate(nbytes, stream)
                same("a block of torch's own", blocks[address].address, address)
            elif action == "free_requested":
                self.allocator.free(blocks.pop(address))

    def _next_address(self, nbytes: int) -> int:
        if self._following is None:
            raise DifferError(f"a segment of {nbytes} that the GPU does not have")
        return int(self._following[1])

    def _segment_changed(self, action: Action, pool: Any, address: int, nbytes: int) -> None:
        if action in (Action.SEGMENT_ALLOC, Action.SEGMENT_MAP):
            given = self._following
            same("a new segment", [action.value, address, nbytes, pool.stream], given)
            self._following = next(self._given, None)
        self._watch(action, pool, address, nbytes)

    def allocate(self, number: int, nbytes: int, stream: int, address: int) -> None:
        try:
            block = self.blocks[number] = self.allocator.allocate(nbytes, stream)
        except AllocatorOutOfMemoryError as error:
            raise DifferError("only ours ran out of memory") from error
        same("a block", block.address, address)

    def run_out_of_memory(self, nbytes: int, stream: int, text: str) -> None:
        try:
            self.allocator.allocate(nbytes, stream)
        except AllocatorOutOfMemoryError as error:
            same("the message", without_device(error.message()), without_device(text))
        else:
            raise DifferError("only the GPU ran out of memory")

    def make_pool(self, number: int, pool: list[int], on_oom: bool, no_split: bool) -> None:
        self.pools[number] = (pool[0], pool[1])
        self.allocator.create_pool(self.pools[number], use_on_oom=on_oom, no_split=no_split)

    def leave(self, pool: PoolId) -> None:
        self.allocator.end_pool(pool)
        self.allocator.release_pool(pool)

    def delete_pool(self, number: int) -> None:
        pool = self.pools.pop(number)
        self.allocator.release_pool(pool)
        self.allocator.empty_cache(pool)

    def begin_capture(self, graph: int, stream: int) -> None:
        self.allocator.begin_pool(self.graphs[graph], lambda other: other == stream, capture=True)

    def do(self, event: list[Any], following: list[list[Any]]) -> None:
        """Do what the program did. `following` are the next events."""
        letter, *operands = event
        if letter in "ao":
            self.pending.begin_request({stream for _, stream in takewhile(lambda other: other[0] == "D", following)})
        if letter == "!":
            raise DifferError(operands[0].strip().splitlines()[-1])
        self.by_letter[letter](*operands)

    def totals(self) -> list[int]:
        return [self.allocator.allocated_bytes, self.allocator.active_bytes, self.allocator.reserved_bytes]

    def check(self, check: dict[str, Any]) -> None:
        counters = self.allocator.statistics()
        for name, value in check["statistics"].items():
            same(name, counters.get(name), value)
        same("the counters", list(counters), list(check["statistics"]))
        segments = [shown_segment(segment) for segment in self.allocator.snapshot()]
        for found, expected in zip(segments, sorted(map(without_last_request, check["segments"])), strict=False):
            same("a segment", found, expected)
        same("the number of segments", len(segments), len(check["segments"]))


def same(what: str, ours: object, expected: object) -> None:
    """Both are equal.

    Raises:
        DifferError: they are not.
    """
    if ours != expected:
        raise DifferError(f"{what}: {ours} here, {expected} on the GPU")


def without_device(text: str) -> str:
    """A message without what others have of the device, which is unknown here."""
    return re.sub(r"GPU 0 has .*? is free\. (Including .*? memory in use\. |Process .*? memory in use\. )*", "", text)


def shown_segment(segment: SegmentRecord) -> list[Any]:
    kind = "large" if segment.is_large else "small"
    blocks = [[block.address, block.nbytes, 0 if block.state == FREE else block.requested_bytes, block.state] for block in segment.blocks]
    return [segment.address, segment.nbytes, segment.stream, kind, segment.is_expandable, list(segment.pool_id), blocks]


def without_last_request(segment: list[Any]) -> list[Any]:
    """Of a free block torch shows what its last user requested, which says nothing."""
    blocks = [[address, nbytes, 0 if state == FREE else requested, state] for address, nbytes, requested, state in segment[-1]]
    return [*segment[:-1], blocks]


def shown_action(entry: HistoryEntry) -> list[Any]:
    return [entry.action.value, entry.address, entry.requested_bytes, entry.stream]


def in_order(actions: list[list[Any]]) -> list[list[Any]]:
    """Those that happen at once by address. Without the device's free memory."""
    result: list[list[Any]] = []
    together: list[list[Any]] = []
    for action in [*actions, None]:
        if together and (action is None or action[0] != together[0][0]):
            result += sorted(together)
            together = []
        if action is None:
            break
        if action[0] in _AT_ONCE:
            together.append(action)
        else:
            result.append([action[0], None, *action[2:]] if action[0] == Action.OUT_OF_MEMORY else action)
    return result


def compared_actions(history: list[HistoryEntry], part: dict[str, Any]) -> Iterator[tuple[object, object]]:
    """Ours and theirs. A short file has those of segments alone, and more of them than its events lead to.

    What its last events release may be released together with more.
    """
    theirs = in_order(part["trace"])
    is_whole = any(action[0] == Action.ALLOC for action in theirs)
    ours = in_order([shown_action(entry) for entry in history if is_whole or entry.action in _OF_SEGMENTS])
    while not is_whole and ours and ours[-1][0] in _AT_ONCE:
        ours.pop()
    yield from zip_longest(ours, theirs if is_whole else theirs[: len(ours)])


def replay(part: dict[str, Any], torch_version: TorchVersion) -> Result:
    """Until the first difference."""
    checks = {check["after"]: check for check in part["checks"]}
    done = requests = checked = actions = 0
    event: list[Any] = []
    program = Replay(part, torch_version)
    try:
        program.prepare(part["prepared"]["trace"])
        for done, event in enumerate(part["events"]):
            if done in checks:
                program.check(checks[done])
                checked += 1
            program.do(event, part["events"][done + 1 : done + 1 + MOST_STREAMS])
            same("allocated, active and reserved bytes", program.totals(), part["totals"][done])
            requests += event[0] in "ao"
        if (last := checks.get(len(part["events"]))) is not None:
            program.check(last)
            checked += 1
        done = len(part["events"])
        for action in compared_actions(program.allocator.history, part):
            same(f"action {actions}", *action)
            actions += 1
    except DifferError as error:
        return Result(done, requests, checked, actions, f"event {done} {str(event)[:150]}: {str(error)[:1500]}")
    return Result(done, requests, checked, actions, "")


def filled(setting: str, torch_version: TorchVersion, total_bytes: int, capacity_bytes: int) -> list[dict[str, int]]:
    """The counters of `fill` (scripts/dev/gpu/allocator_events.py), which takes all memory of a device and asks for more."""
    settings = AllocatorSettings.parse(setting, torch_version)
    allocator = CachingAllocator(settings, total_bytes=total_bytes, capacity_bytes=capacity_bytes)
    steps = [allocator.statistics()]
    held: list[Block] = []
    for nbytes in (8192 * MIB, 1024 * MIB, 128 * MIB, 20 * MIB, 2 * MIB, 512 * 1024):
        with suppress(AllocatorOutOfMemoryError):
            while True:
                held.append(allocator.allocate(nbytes))
        steps.append(allocator.statistics())
    for block in held[1::2]:
        allocator.free(block)
    del held[1::2]
    steps.append(allocator.statistics())
    for nbytes in (3072 * MIB, 12288 * MIB, 2 * MIB):
        held.append(allocator.allocate(nbytes))
        steps.append(allocator.statistics())
    for block in reversed(held):
        allocator.free(block)
    steps.append(allocator.statistics())
    allocator.empty_cache()
    return [*steps, allocator.statistics()]


def peak_reserved_bytes(events: list[list[Any]], torch_version: TorchVersion, total_bytes: int) -> int:
    """Of a program that another allocator ran."""
    allocator = CachingAllocator(AllocatorSettings(torch_version=torch_version), total_bytes=total_bytes, uses_end_at_once=False)
    blocks: dict[int, Block] = {}
    for letter, *operands in events:
        if letter == "a":
            number, nbytes, stream = operands
            blocks[number] = allocator.allocate(nbytes, stream)
        elif letter == "f":
            allocator.free(blocks.pop(operands[0]))
        elif letter == "r":
            allocator.record_stream(blocks[operands[0]], operands[1])
        elif letter == "e":
            allocator.empty_cache()
        else:
            allocator.complete_uses(operands[0])
    return allocator.peak_reserved_bytes


def read(path: Path) -> dict[str, Any]:
    content = json.loads(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    content = content if "parts" in content else {"device": {"torch": "2.13.0"}, "parts": [content]}
    for part in content["parts"]:
        part["trace"] = [entry for entry in part.get("trace", ()) if entry[0] != "snapshot"]
        if (changes := part.pop("changes", None)) is not None:
            part["totals"] = list(accumulate(changes, lambda before, change: [a + b for a, b in zip(before, change, strict=True)]))
    return content


def version(content: dict[str, Any]) -> TorchVersion:
    major, minor, *_ = content["device"]["torch"].split(".")
    return int(major), int(minor)


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        content = read(path)
        for part in content["parts"]:
            name = f"{part['kind']} {part['seed']} {part['setting'] or 'default'}"
            if "trace" not in part or not part["trace"]:
                print(f"{name}: not compared; {part.get('error', '')[-300:]}")
                continue
            result = replay(part, version(content))
            counts = f"{result.requests} requests, {result.checks} checks, {result.actions} actions"
            print(f"{name}: {result.events} of {len(part['events'])} events, {counts}")
            if result.difference:
                print(f"    {result.difference}")


if __name__ == "__main__":
    main()
