"""Memory snapshots for the script: segments and blocks, and what the allocators did while the script had it recorded.

A history is made when it is first asked for, by asking allocators that keep what they do for the whole program again: recording costs
nothing until then. From then on they are asked what was added since. Entries have no times: no time is simulated.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fakerun.allocator.history import HistoryEntry, RecordingAllocator
from fakerun.allocator.snapshot import SegmentRecord
from fakerun.device_memory.recording import RecordingAllocators
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.program import ProgramTrace
from fakerun.trace.program_follower import ProgramFollower

_Frames = list[dict[str, Any]]


class MemorySnapshots:
    """What `torch.cuda.memory._record_memory_history` asked for, and the snapshots. `allocators` makes new ones that keep what they do."""

    def __init__(
        self,
        program: ProgramTrace,
        memory: MemoryTrace,
        devices: DeviceOrdinals,
        allocators: Callable[[Callable[[], object]], RecordingAllocators],
    ) -> None:
        self._program = program
        self._memory = memory
        self._devices = devices
        self._allocators = allocators
        self._changes: list[tuple[int, bool]] = []
        """After how many entries of the program recording began, or ended."""
        self._most_entries = 0
        self._follower: ProgramFollower[RecordingAllocators] | None = None
        self._kept: defaultdict[int, list[HistoryEntry]] = defaultdict(list)
        """What the allocators did while it was recorded, by ordinal of the device, as far as they have come."""
        self._changes_passed = 0
        self._records = False
        self._frames_of_sites: dict[int, _Frames] = {}
        """By identity: the trace keeps one object for each site."""

    @property
    def has_history(self) -> bool:
        return bool(self._changes)

    def record(self, most_entries: int | None, *, clear: bool) -> None:
        """Record from now on, and keep that many entries for each device; None records no longer."""
        if clear:
            self._changes.clear()
            self._kept.clear()
            self._changes_passed = 0
            self._records = False
        if most_entries is not None:
            self._most_entries = most_entries
        self._changes.append((len(self._program.sequence), most_entries is not None))

    def with_history(self) -> dict[str, Any]:
        """Segments and traces of all devices."""
        recording = self._caught_up()
        snapshot: dict[str, Any] = {"segments": [], "device_traces": []}
        for device, ordinal in self._devices.items():
            if ordinal not in recording:
                continue
            allocator = recording[ordinal]
            snapshot["segments"] += self.segments(device, allocator.snapshot(), allocator.contexts(), allocator.segment_contexts())
            traces = snapshot["device_traces"]
            traces += ([] for _ in range(len(traces), device + 1))
            traces[device] = [self._written(entry) for entry in self._kept[ordinal][-self._most_entries :]]
        return snapshot

    def segments(
        self,
        device: int,
        segments: Iterable[SegmentRecord],
        of_blocks: Mapping[int, object],
        of_segments: Mapping[int, object],
    ) -> list[dict[str, Any]]:
        """Segments of a device, by its CUDA index. The position in the program of who allocated is by address in the mappings."""
        result = []
        for segment in segments:
            written = segment.as_torch(device)
            written["stream"] = self._stream(segment.stream)
            written["frames"] = self._frames(of_segments.get(segment.address))
            for block in written["blocks"]:
                block["frames"] = self._frames(of_blocks.get(block["address"]))
            result.append(written)
        return result

    def _caught_up(self) -> Mapping[int, RecordingAllocator]:
        """The allocators, asked all that the program has asked until now; what they did while it was to be recorded is kept."""
        if self._follower is None:
            self._follower = ProgramFollower(self._allocators(lambda: follower.position - 1), self._program, self._memory, self._devices)
        follower = self._follower
        for position, begins in self._changes[self._changes_passed :]:
            self._follow(follower, position)
            self._records = begins
        self._changes_passed = len(self._changes)
        self._follow(follower, len(self._program.sequence))
        return follower.allocators.recording()

    def _follow(self, follower: ProgramFollower[RecordingAllocators], position: int) -> None:
        """Ask for the entries of the program up to this one."""
        follower.follow(position)
        for device, allocator in follower.allocators.recording().items():
            if self._records:
                self._kept[device] += allocator.history
            allocator.history.clear()

    def _is_recorded(self, position: int) -> bool:
        return next((records for start, records in reversed(self._changes) if position >= start), False)

    def _written(self, entry: HistoryEntry) -> dict[str, Any]:
        return {**entry.as_torch(), "stream": self._stream(entry.stream), "frames": self._frames(entry.context), "pool_id": entry.pool_id}

    def _stream(self, number: int) -> int:
        return self._program.streams[number].cuda_stream

    def _frames(self, position: object) -> _Frames:
        """The line of an allocation, by the position of its entry in the program; what kernels take for themselves has none."""
        item = self._program.sequence[position] if isinstance(position, int) and self._is_recorded(position) else None
        site = self._memory.blocks[item].call_site if isinstance(item, int) and item >= 0 else None
        if site is None:
            return []
        frames = self._frames_of_sites.get(id(site))
        if frames is None:
            frames = self._frames_of_sites[id(site)] = [{"filename": site.path, "line": site.line, "name": site.function or "<module>"}]
        return frames
