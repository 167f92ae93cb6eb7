"""MemoryHistory: what the caching allocator of a device does for a program, action by action, and what it holds at the end."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from fakerun.allocator.history import HistoryEntry
from fakerun.allocator.settings import AllocatorSettings
from fakerun.allocator.snapshot import SegmentRecord
from fakerun.analysis.memory.allocator_settings import allocator_settings
from fakerun.analysis.memory.repeated_step import InstructionNumbers, after_repetitions, repeatable_last_step
from fakerun.device_memory.recording import RecordingAllocators
from fakerun.job.spec import JobSpec
from fakerun.records.collective import Phase
from fakerun.records.device_program import Opcode, Operation
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

    `step_ends[k]` is the number of entries up to the end of step k; steps from `simulated_steps` on repeat the last one that was simulated.
    `phases` are the phases that begin, each after how many entries.
    """

    settings: AllocatorSettings
    entries: tuple[HistoryEntry, ...]
    step_ends: tuple[int, ...]
    simulated_steps: int
    phases: tuple[tuple[int, Phase], ...]
    segments: tuple[SegmentRecord, ...]
    requests: Mapping[int, object]
    segment_requests: Mapping[int, object]


def memory_histories(job: JobSpec, record: RankRecord, *, repetitions: int = 0) -> Mapping[int, MemoryHistory]:
    """Replay what a rank asked of its devices; by the device's ordinal. The last step is repeated as `reserved_memory` repeats it."""
    program = record.program
    replay = _Replay(job, record)
    starts = (0, *program.step_ends)
    for start, end in zip(starts, program.step_ends, strict=False):
        replay.issue(program.order[start:end])
        replay.end_step()
    last_step = repeatable_last_step(program) or ()
    for _ in range(repetitions):
        replay.issue_each(last_step)
        replay.end_step()
    replay.issue_each(after_repetitions(program, repetitions))
    return replay.result()


class _Replay:
    """Asks allocators what the program asks, and says to them which request it is."""

    def __init__(self, job: JobSpec, record: RankRecord) -> None:
        self._program = program = record.program
        self._instructions = [(each.opcode, each.operand, each.stream) for each in program.instructions]
        self._settings = allocator_settings(job, record)
        self._allocators = RecordingAllocators(
            self._settings,
            job.hardware,
            operations=program.operations,
            streams=program.streams,
            settings_changes=program.settings,
            pool_kinds=program.pools,
            variables=record.memory_variables,
            context=self._request,
        )
        self._phase: Phase | None = None
        self._what: MemoryBlock | Operation = Operation("", "")
        self._step_ends: list[Mapping[int, int]] = []
        self._phases: list[tuple[Phase, Mapping[int, int]]] = []

    def issue(self, numbers: Iterable[int]) -> None:
        """Issue the instructions with these numbers."""
        self.issue_each(map(self._instructions.__getitem__, numbers))

    def issue_each(self, instructions: Iterable[InstructionNumbers]) -> None:
        """Issue instructions in order."""
        allocators, program = self._allocators, self._program
        for opcode, operand, stream in instructions:
            if opcode is Opcode.ALLOCATE:
                self._what = block = program.blocks[operand]
                allocators.allocate(block.device, block.requested_bytes, block.stream)
            elif opcode is Opcode.FREE:
                allocators.free(operand)
            elif opcode is Opcode.EXECUTE:
                self._what = program.operations[operand]
                allocators.execute(operand, stream)
            else:
                if opcode is Opcode.BEGIN_PHASE:
                    self._phase = _PHASES[operand]
                    self._phases.append((self._phase, self._lengths()))
                allocators.issue(opcode, operand, stream)

    def end_step(self) -> None:
        """A training step ends."""
        self._step_ends.append(self._lengths())

    def _request(self) -> MemoryRequest:
        return MemoryRequest(len(self._step_ends), self._phase, self._what)

    def _lengths(self) -> Mapping[int, int]:
        """How many entries each device's history has."""
        return {device: len(allocator.history) for device, allocator in self._allocators.recording().items()}

    def result(self) -> Mapping[int, MemoryHistory]:
        return {
            device: MemoryHistory(
                settings=self._settings,
                entries=tuple(allocator.history),
                step_ends=tuple(lengths.get(device, 0) for lengths in self._step_ends),
                simulated_steps=len(self._program.step_ends),
                phases=tuple((lengths.get(device, 0), phase) for phase, lengths in self._phases),
                segments=allocator.snapshot(),
                requests=allocator.contexts(),
                segment_requests=allocator.segment_contexts(),
            )
            for device, allocator in sorted(self._allocators.recording().items())
        }
