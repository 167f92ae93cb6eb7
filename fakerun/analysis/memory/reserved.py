"""Reserved memory: what the caching allocators of a rank hold for its device program, workspaces of kernels included.

A program has few steps, and what is reserved may grow in later ones: which free block serves a request depends on what came before. If the
last step can be repeated, it is replayed until it needs no more than the time before.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from types import MappingProxyType

from fakerun.allocator.blocks import BlockPool
from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.out_of_memory import AllocatorOutOfMemoryError
from fakerun.allocator.private_pools import DEFAULT_POOL
from fakerun.allocator.settings import AllocatorSettings
from fakerun.allocator.statistics import PoolId
from fakerun.analysis.memory.repeated_step import InstructionNumbers, after_repetitions, repeatable_last_step
from fakerun.device_memory.allocators import DeviceAllocators
from fakerun.device_memory.private_pools import PrivatePools
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import DeviceProgram, DeviceStream, Opcode, PoolKind

MOST_REPETITIONS = 8
"""Of the last step. Programs of FSDP2, tensor parallelism and DDP needed one or two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMemory:
    """What the allocator holds for requests of one size class (up to 1 MiB, or larger) on one stream, in bytes.

    `free_bytes` are reserved and not allocated: they serve this stream and this size class only. `private` is what the memory pool is,
    and `pool_id` its identity for torch, of a pool other than the default one.
    """

    stream: DeviceStream
    is_small: bool
    reserved_bytes: int
    allocated_bytes: int
    largest_free_bytes: int
    private: PoolKind | None = None
    pool_id: PoolId = DEFAULT_POOL

    @property
    def free_bytes(self) -> int:
        return self.reserved_bytes - self.allocated_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedMemory:
    """What one device's allocator holds, in bytes.

    `per_step_peak_bytes` has an entry for each completed step, `repeated_step_peak_bytes` one for each repetition of the last of them that
    was replayed to see whether it needs more; `peak_step` counts on in these. `has_settled` is whether the last needed no more than the one
    before; None if there is no step to repeat. `pools_at_peak` are the pools when the peak was first reached, the largest first.
    """

    peak_bytes: int = 0
    peak_step: int | None = None
    peak_allocated_bytes: int = 0
    per_step_peak_bytes: tuple[int, ...] = ()
    repeated_step_peak_bytes: tuple[int, ...] = ()
    has_settled: bool | None = None
    pools_at_peak: tuple[PoolMemory, ...] = ()

    @property
    def growth_bytes(self) -> int:
        """How much more the last repetition of the last step needed than the one before; 0 if that has settled."""
        peaks = (*self.per_step_peak_bytes, *self.repeated_step_peak_bytes)
        return 0 if self.has_settled is not False or len(peaks) < 2 else max(peaks[-1] - peaks[-2], 0)


def reserved_memory(
    program: DeviceProgram,
    settings: AllocatorSettings,
    hardware: Accelerator,
    *,
    variables: Mapping[str, str] | None = None,
    capacity_bytes: int | None = None,
) -> Mapping[int, ReservedMemory]:
    """Replay a program; by ordinal of the device. `variables` are those of the rank's environment.

    Raises:
        AllocatorOutOfMemoryError: a device gives the allocator no more than `capacity_bytes`, and they are not enough.
    """
    replay = _Replay(program, settings, hardware, variables or {}, capacity_bytes)
    return replay.result(has_settled=_replayed(replay, program))


def _replayed(replay: "_Replay", program: DeviceProgram, *, briefly: bool = False) -> bool | None:
    """Issue all of a program; whether what it needs has settled, None if there is no step to repeat.

    `briefly` leaves out steps that repeat the two before them, if the second needed no more than the first and freed as much as it took.
    """
    settled, before = None, None
    for start, end in zip((0, *program.step_ends), program.step_ends, strict=False):
        step = program.order[start:end]
        if not (briefly and settled and step == before):
            replay.issue(step)
            replay.end_step()
            settled = step == before and not replay.grew_in_last_step() and _frees_as_many(program, step)
        before = step
    repetitions = 0
    last_step = None if briefly and settled else repeatable_last_step(program)
    if last_step is not None:
        settled = False
        while not settled and repetitions < MOST_REPETITIONS:
            replay.issue_each(last_step)
            replay.end_step()
            repetitions += 1
            settled = not replay.grew_in_last_step()
    replay.issue_each(after_repetitions(program, repetitions))
    return settled if repetitions else None


def _frees_as_many(program: DeviceProgram, numbers: Sequence[int]) -> bool:
    """Whether these instructions free as many blocks as they allocate."""
    changes = [(each.opcode is Opcode.ALLOCATE) - (each.opcode is Opcode.FREE) for each in program.instructions]
    return sum(map(changes.__getitem__, numbers)) == 0


class _ExceedsError(Exception):
    """A device needs more than is of interest."""


def peak_within(
    program: DeviceProgram,
    settings: AllocatorSettings,
    hardware: Accelerator,
    device: int,
    most_bytes: float,
    *,
    variables: Mapping[str, str],
) -> int | None:
    """The peak of what one device reserves, as `reserved_memory` has it; None, which takes less time, if that exceeds `most_bytes`."""
    replay = _PeakReplay(program, settings, hardware, variables, None)
    replay.most_bytes = {device: most_bytes}
    try:
        _replayed(replay, program, briefly=True)
        return replay.peak_bytes(device)
    except _ExceedsError:
        return None


def runs_out(
    program: DeviceProgram, settings: AllocatorSettings, hardware: Accelerator, capacity_bytes: int, variables: Mapping[str, str]
) -> bool:
    """Whether the allocators run out of memory on devices that give them `capacity_bytes`, even after giving back all that they cache."""
    try:
        reserved_memory(program, settings, hardware, variables=variables, capacity_bytes=capacity_bytes)
    except AllocatorOutOfMemoryError:
        return True
    return False


class _Replay:
    """Issues instructions and keeps the peaks of each step and of all."""

    def __init__(
        self,
        program: DeviceProgram,
        settings: AllocatorSettings,
        hardware: Accelerator,
        variables: Mapping[str, str],
        capacity_bytes: int | None,
    ) -> None:
        self._program = program
        self._instructions = [(each.opcode, each.operand, each.stream) for each in program.instructions]
        self._blocks = [(block.device, block.requested_bytes, block.stream) for block in program.blocks]
        self._allocators = DeviceAllocators(
            settings,
            hardware,
            operations=program.operations,
            streams=program.streams,
            settings_changes=program.settings,
            pool_kinds=program.pools,
            variables=variables,
            capacity_bytes=capacity_bytes,
        )
        self._steps: list[Mapping[int, int]] = []
        self._allocated_peaks: dict[int, int] = {}
        self._peaks: dict[int, int] = {}
        self._peak_steps: dict[int, int] = {}
        self._pools: dict[int, tuple[PoolMemory, ...]] = {}

    def issue(self, numbers: Iterable[int]) -> None:
        """Issue the instructions with these numbers."""
        self.issue_each(map(self._instructions.__getitem__, numbers))

    def issue_each(self, instructions: Iterable[InstructionNumbers]) -> None:
        """Issue instructions in order."""
        blocks, allocators, peaks = self._blocks, self._allocators, self._peaks
        for opcode, operand, stream in instructions:
            if opcode is Opcode.ALLOCATE:
                block = blocks[operand]
                allocator = allocators.allocate(*block)
                if allocator.reserved_bytes > peaks.get(block[0], 0):
                    self._take_peak(block[0], allocator)
            elif opcode is Opcode.FREE:
                allocators.free(operand)
            elif opcode is Opcode.EXECUTE:
                allocators.execute(operand, stream)
            else:
                allocators.issue(opcode, operand, stream)

    def _take_peak(self, device: int, allocator: CachingAllocator) -> None:
        self._peaks[device] = allocator.reserved_bytes
        self._peak_steps[device] = len(self._steps)
        self._pools[device] = tuple(_pools_of(allocator.pools(), self._program.streams, self._allocators.private_pools))

    def peak_bytes(self, device: int) -> int:
        """What the device needed at most."""
        self._take_peaks()
        return self._peaks.get(device, 0)

    def end_step(self) -> None:
        """A training step ends: keep its peaks, and begin anew."""
        self._steps.append({device: allocator.peak_reserved_bytes for device, allocator in self._allocators.all().items()})
        self._take_peaks()

    def grew_in_last_step(self) -> bool:
        """Whether a device needed more in the last step than in the one before it."""
        before, last = self._steps[-2:]
        return any(peak > before.get(device, 0) for device, peak in last.items())

    def _take_peaks(self) -> None:
        """What kernels take for themselves may be the peak, too."""
        for device, allocator in self._allocators.all().items():
            if allocator.peak_reserved_bytes > self._peaks.get(device, 0):
                self._take_peak(device, allocator)
                self._peaks[device] = allocator.peak_reserved_bytes
            self._allocated_peaks[device] = max(self._allocated_peaks.get(device, 0), allocator.peak_allocated_bytes)
            allocator.reset_peak()

    def result(self, *, has_settled: bool | None) -> Mapping[int, ReservedMemory]:
        self._take_peaks()
        simulated = len(self._program.step_ends)
        by_step = {device: tuple(step.get(device, 0) for step in self._steps) for device in self._peaks}
        return {
            device: ReservedMemory(
                peak_bytes=self._peaks[device],
                peak_step=self._peak_steps[device],
                peak_allocated_bytes=self._allocated_peaks[device],
                per_step_peak_bytes=by_step[device][:simulated],
                repeated_step_peak_bytes=by_step[device][simulated:],
                has_settled=has_settled,
                pools_at_peak=self._pools[device],
            )
            for device in sorted(self._peaks)
        }


class _PeakReplay(_Replay):
    """Keeps the peaks, and ends when one exceeds what is of interest, by ordinal of the device."""

    most_bytes: Mapping[int, float] = MappingProxyType({})

    def _take_peak(self, device: int, allocator: CachingAllocator) -> None:
        self._peaks[device] = allocator.reserved_bytes
        if allocator.reserved_bytes > self.most_bytes.get(device, inf):
            raise _ExceedsError


def _pools_of(pools: Iterable[BlockPool], streams: Sequence[DeviceStream], private_pools: PrivatePools) -> list[PoolMemory]:
    found = [
        PoolMemory(
            stream=streams[pool.stream],
            is_small=pool.is_small,
            reserved_bytes=pool.reserved_bytes,
            allocated_bytes=pool.allocated_bytes,
            largest_free_bytes=pool.largest_free_bytes,
            private=private_pools.kind_of(pool.owner.pool_id),
            pool_id=pool.owner.pool_id,
        )
        for pool in pools
        if pool.reserved_bytes
    ]
    return sorted(found, key=lambda pool: -pool.reserved_bytes)
