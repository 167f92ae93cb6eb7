"""What the host asks of the devices, in order: the device program of the rank."""

from collections import defaultdict
from collections.abc import Sequence

from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.journal import Event, Journal
from fakerun.records.memory import MemoryBlock
from fakerun.records.observer import CurrentStreams, StreamKey
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.program_point import ProgramPoint

_PHASES = {phase: Instruction(Opcode.BEGIN_PHASE, number) for number, phase in enumerate(Phase)}
_EMPTY_CACHE = Instruction(Opcode.EMPTY_CACHE)


class ProgramTrace:
    """Collects the instructions. Implements `ExecutionObserver` (fakerun.records.observer)."""

    def __init__(self, point: ProgramPoint, devices: DeviceOrdinals, streams: CurrentStreams, journal: Journal) -> None:
        self._point = point
        self._devices = devices
        self._current = streams.current
        self._journal = journal
        self._sequence: list[int | Instruction] = []
        self._streams: dict[StreamKey, int] = {}
        self._operations: dict[Operation, int] = {}
        self._executions: dict[tuple[int, int], Instruction] = {}
        self._counts: defaultdict[Opcode, int] = defaultdict(int)
        self._phase: Phase | None = None

    def __len__(self) -> int:
        """How many instructions there are so far. May be asked from another thread."""
        return len(self._sequence)

    def program(self, blocks: Sequence[MemoryBlock], step_ends: Sequence[int]) -> DeviceProgram:
        """Everything so far; `blocks` by number, `step_ends` as numbers of instructions."""
        return program_of(
            blocks, self._sequence, operations=tuple(self._operations), streams=tuple(map(self._stream, self._streams)), step_ends=step_ends
        )

    # -- memory ------------------------------------------------------------------------------------------------------------------------

    def allocated(self, block: int) -> None:
        """The block of this number, which is one more than that of the last, was allocated."""
        self._sequence.append(block)

    def freed(self, block: int) -> None:
        self._sequence.append(~block)

    def used_on_stream(self, age: int, stream: StreamKey) -> None:
        """A block is in use on another stream; `age` blocks were allocated after it."""
        self._sequence.append(Instruction(Opcode.RECORD_STREAM, age, self._number(stream)))

    def emptied_cache(self) -> None:
        self._sequence.append(_EMPTY_CACHE)

    # -- work --------------------------------------------------------------------------------------------------------------------------

    def current_stream(self, device: int) -> int:
        """The number of the stream on which the work of a device, by its CUDA index, is queued now."""
        return self._number(self._current(device))

    def operation(self, name: str, arguments: str) -> int:
        """The number of an operation."""
        return self._operations.setdefault(Operation(name, arguments), len(self._operations))

    def executed(self, operation: int, device: int) -> None:
        self.begin_phase(self._point.phase())
        stream = self.current_stream(device)
        instruction = self._executions.get((operation, stream))
        if instruction is None:
            instruction = self._executions[operation, stream] = Instruction(Opcode.EXECUTE, operation, stream)
        self._sequence.append(instruction)

    def begin_phase(self, phase: Phase) -> None:
        """What follows belongs to this phase of a training step."""
        if phase is not self._phase:
            self._phase = phase
            self._sequence.append(_PHASES[phase])

    def communicated(self, device: int) -> None:
        """The next communication call of the rank was issued, on this device."""
        self._count(Opcode.COMMUNICATE, self._current(device))

    def waited_for_call(self, age: int, device: int) -> None:
        """The current stream of a device waits for a call after which `age` others were issued."""
        self._sequence.append(Instruction(Opcode.WAIT_FOR_CALL, age, self.current_stream(device)))

    # -- synchronisation ---------------------------------------------------------------------------------------------------------------

    def recorded_event(self, stream: StreamKey) -> int:
        return self._count(Opcode.RECORD_EVENT, stream)

    def waited_for_event(self, event: int, stream: StreamKey | None) -> None:
        age = self._counts[Opcode.RECORD_EVENT] - 1 - event
        if stream is None:
            self._sequence.append(Instruction(Opcode.SYNCHRONIZE_EVENT, age))
        else:
            self._sequence.append(Instruction(Opcode.WAIT_FOR_EVENT, age, self._number(stream)))

    def waited_for_stream(self, waited_for: StreamKey, stream: StreamKey | None) -> None:
        other = self._number(waited_for)
        if stream is None:
            self._sequence.append(Instruction(Opcode.SYNCHRONIZE_STREAM, stream=other))
        else:
            self._sequence.append(Instruction(Opcode.WAIT_FOR_STREAM, other, self._number(stream)))

    def synchronized(self, device: int) -> None:
        self._sequence.append(Instruction(Opcode.SYNCHRONIZE, self._devices[device]))

    # -- numbers -----------------------------------------------------------------------------------------------------------------------

    def _count(self, opcode: Opcode, stream: StreamKey) -> int:
        self._sequence.append(Instruction(opcode, stream=self._number(stream)))
        number = self._counts[opcode]
        self._counts[opcode] = number + 1
        return number

    def _number(self, stream: StreamKey) -> int:
        number = self._streams.get(stream)
        if number is None:
            number = self._streams[stream] = len(self._streams)
            self._devices[stream[0]]
            self._journal.event(Event.STREAM, *stream)
        return number

    def _stream(self, stream: StreamKey) -> DeviceStream:
        device, priority, index = stream
        return DeviceStream(device=self._devices[device], priority=priority, index=index)
