"""MemoryHistory: what the caching allocator of a device does for a program, action by action, and what it holds at the end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fakerun.allocator.history import HistoryEntry
from fakerun.allocator.settings import AllocatorSettings
from fakerun.allocator.snapshot import SegmentRecord
from fakerun.device_memory.recording import RecordingAllocators
from fakerun.hardware.accelerator import Accelerator
from fakerun.job.spec import JobSpec
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, Opcode, Operation
from fakerun.records.memory import MemoryBlock
from fakerun.records.run import RankRecord

_PHASES = tuple(Phase)


class MemoryRequest(NamedTuple):
    """What memory is asked for: a block of the program, or what the kernel of an operation takes for itself.

    `step` is the training step in which it is; `phase` is None before the first one begins.
    """

    step: int
    phase: Phase | None
    what: MemoryBlock | Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryHistory:
    """The contexts of `entries` are `MemoryRequest`s; the same of what is not free, and of segments, at the end, by address.

    `step_ends[k]` is the number of entries up to the end of step k; `phases` are the phases that begin, each after how many entries.
    """

    settings: AllocatorSettings
    entries: tuple[HistoryEntry, ...]
    step_ends: tuple[int, ...]
    phases: tuple[tuple[int, Phase], ...]
    segments: tuple[SegmentRecord, ...]
    requests: Mapping[int, object]
    segment_requests: Mapping[int, object]


def memory_histories(job: JobSpec, record: RankRecord) -> Mapping[int, MemoryHistory]:
    """Replay what a rank asked of its devices; by the device's ordinal."""
    return _Replay(record, AllocatorSettings(), job.hardware).result()


class _Replay:
    """Asks allocators what the program asks, and says to them which request it is."""

    def __init__(self, record: RankRecord, settings: AllocatorSettings, hardware: Accelerator) -> None:
        self._settings = settings
        program = record.program
        self._allocators = RecordingAllocators(
            settings,
            hardware,
            operations=program.operations,
            streams=program.streams,
            variables={},
            torch_version=record.torch_version,
            context=self._request,
        )
        self._step = 0
        self._phase: Phase | None = None
        self._what: MemoryBlock | Operation = Operation("", "")
        self._step_ends: list[Mapping[int, int]] = []
        self._phases: list[tuple[Phase, Mapping[int, int]]] = []
        ends = set(program.step_ends)
        for position, number in enumerate(program.order):
            if position in ends:
                self._end_steps(program.step_ends.count(position))
            self._issue(program, number)
        self._end_steps(program.step_ends.count(len(program.order)))

    def _request(self) -> MemoryRequest:
        return MemoryRequest(self._step, self._phase, self._what)

    def _issue(self, program: DeviceProgram, number: int) -> None:
        instruction = program.instructions[number]
        opcode, operand, stream = instruction.opcode, instruction.operand, instruction.stream
        if opcode is Opcode.ALLOCATE:
            self._what = block = program.blocks[operand]
            self._allocators.allocate(block.device, block.requested_bytes, block.stream)
        elif opcode is Opcode.FREE:
            self._allocators.free(operand)
        elif opcode is Opcode.EXECUTE:
            self._what = program.operations[operand]
            self._allocators.execute(operand, stream)
        elif opcode is Opcode.BEGIN_PHASE:
            self._phase = _PHASES[operand]
            self._phases.append((self._phase, self._lengths()))
            self._allocators.begin_phase(operand)
        elif opcode is Opcode.RECORD_STREAM:
            self._allocators.record_stream(operand, stream)
        elif opcode is Opcode.EMPTY_CACHE:
            self._allocators.empty_cache()

    def _end_steps(self, count: int) -> None:
        for _ in range(count):
            self._step += 1
            self._step_ends.append(self._lengths())

    def _lengths(self) -> Mapping[int, int]:
        """How many entries each device's history has."""
        return {device: len(allocator.history) for device, allocator in self._allocators.recording().items()}

    def result(self) -> Mapping[int, MemoryHistory]:
        return {
            device: MemoryHistory(
                settings=self._settings,
                entries=tuple(allocator.history),
                step_ends=tuple(lengths.get(device, 0) for lengths in self._step_ends),
                phases=tuple((lengths.get(device, 0), phase) for phase, lengths in self._phases),
                segments=allocator.snapshot(),
                requests=allocator.contexts(),
                segment_requests=allocator.segment_contexts(),
            )
            for device, allocator in sorted(self._allocators.recording().items())
        }
