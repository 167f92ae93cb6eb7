"""What the host asks of the devices, in order: the device program of the rank."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from fakerun.records.collective import Phase
from fakerun.records.device_program import (
    FRACTION_UNIT,
    BlockUses,
    DeviceProgram,
    DeviceStream,
    Instruction,
    Opcode,
    Operation,
    PoolKind,
    program_of,
)
from fakerun.records.journal import Event, Journal
from fakerun.records.memory import MemoryBlock
from fakerun.records.observer import CurrentStreams, StreamKey
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.program_point import ProgramPoint

_PHASE_LIST = tuple(Phase)
_PHASES = {phase: Instruction(Opcode.BEGIN_PHASE, number) for number, phase in enumerate(Phase)}
EMPTY_CACHE = Instruction(Opcode.EMPTY_CACHE)


class ProgramTrace:
    """Collects the instructions. Implements `ExecutionObserver` (fakerun.records.observer).

    `sequence` has an instruction, or for an allocation the number of the block, for a free its complement. `operations` and `streams` are
    in the order of their numbers, `settings` are texts of the allocator's settings, `uses` is what compiled code uses, `pools` are kinds of
    private memory pools. All grow.
    """

    def __init__(self, point: ProgramPoint, devices: DeviceOrdinals, streams: CurrentStreams, journal: Journal) -> None:
        self._point = point
        self._devices = devices
        self._current = streams.current
        self._journal = journal
        self.sequence: list[int | Instruction] = []
        self.operations: list[Operation] = []
        self.streams: list[DeviceStream] = []
        self.settings: list[str] = []
        self.uses: list[BlockUses] = []
        self.requested: Callable[[], None] | None = None
        """Called after an instruction that may need device memory. What it raises is for the script: the request is not served."""
        self.requesting: Callable[[StreamKey], None] | None = None
        """Called before an instruction that may need memory for work on a stream, while some allocations are served from private pools."""
        self.pools: list[PoolKind] = []
        self.stream_keys: list[StreamKey] = []
        self._stream_numbers: dict[StreamKey, int] = {}
        self._operation_numbers: dict[Operation, int] = {}
        self._executions: dict[tuple[int, StreamKey], Instruction] = {}
        self._counts: defaultdict[Opcode, int] = defaultdict(int)
        self._phase: Phase | None = None

    def __len__(self) -> int:
        """How many instructions there are so far. May be asked from another thread."""
        return len(self.sequence)

    def program(self, blocks: Sequence[MemoryBlock], step_ends: Sequence[int]) -> DeviceProgram:
        """Everything so far; `blocks` by number, `step_ends` as numbers of instructions."""
        return program_of(
            blocks,
            self.sequence,
            operations=self.operations,
            streams=self.streams,
            settings=self.settings,
            uses=self.uses,
            pools=self.pools,
            step_ends=step_ends,
        )

    # -- memory ------------------------------------------------------------------------------------------------------------------------

    def allocated(self, block: int, stream: int) -> None:
        """The block of this number, which is one more than that of the last, was allocated on the stream of this number."""
        if self.requesting is not None:
            self.requesting(self.stream_keys[stream])
        self.sequence.append(block)
        if self.requested is not None:
            self.requested()

    def freed(self, block: int) -> None:
        self.sequence.append(~block)

    def used_on_stream(self, age: int, stream: StreamKey) -> None:
        """A block is in use on another stream; `age` blocks were allocated after it."""
        self.sequence.append(Instruction(Opcode.RECORD_STREAM, age, self.stream_number(stream)))

    def emptied_cache(self) -> None:
        self.sequence.append(EMPTY_CACHE)

    def limited_memory(self, device: int, fraction: float) -> None:
        """The allocator of a device, by its CUDA index, may hold no more than this fraction of the device's memory."""
        self.sequence.append(Instruction(Opcode.LIMIT_MEMORY, round(fraction / FRACTION_UNIT), self.stream_number((device, 0, None))))

    def changed_settings(self, text: str) -> None:
        """The script gave this text to the allocators of all devices."""
        self.sequence.append(Instruction(Opcode.CHANGE_SETTINGS, len(self.settings)))
        self.settings.append(text)

    def freed_workspaces(self, stream: StreamKey) -> None:
        self.sequence.append(Instruction(Opcode.FREE_WORKSPACES, stream=self.stream_number(stream)))

    # -- work --------------------------------------------------------------------------------------------------------------------------

    def current_stream(self, device: int) -> int:
        """The number of the stream on which the work of a device, by its CUDA index, is queued now."""
        return self.stream_number(self._current(device))

    def operation(self, name: str, arguments: str, results: str) -> int:
        """The number of an operation."""
        operation = Operation(name, arguments, results)
        number = self._operation_numbers.setdefault(operation, len(self.operations))
        if number == len(self.operations):
            self.operations.append(operation)
        return number

    def executed(self, operation: int, device: int) -> None:
        self.begin_phase(self._point.phase())
        stream = self._current(device)
        if self.requesting is not None:
            self.requesting(stream)
        instruction = self._executions.get((operation, stream))
        if instruction is None:
            instruction = self._executions[operation, stream] = Instruction(Opcode.EXECUTE, operation, self.stream_number(stream))
        self.sequence.append(instruction)
        if self.requested is not None:
            self.requested()

    def begin_phase(self, phase: Phase) -> None:
        """What follows belongs to this phase of a training step."""
        if phase is not self._phase:
            self._phase = phase
            self.sequence.append(_PHASES[phase])

    def phase_at(self, position: int) -> Phase:
        """The phase in which the program was before this entry."""
        earlier = (entry for entry in reversed(self.sequence[:position]) if type(entry) is not int)
        return next((self.phase_of(entry) for entry in earlier if entry.opcode is Opcode.BEGIN_PHASE), Phase.OTHER)  # type: ignore[union-attr,arg-type]

    @staticmethod
    def phase_of(instruction: Instruction) -> Phase:
        """The phase that begins with the instruction."""
        return _PHASE_LIST[instruction.operand]

    def communicated(self, device: int) -> None:
        """The next communication call of the rank was issued, on this device."""
        self.count(Instruction(Opcode.COMMUNICATE, stream=self.current_stream(device)))

    def waited_for_call(self, age: int, device: int) -> None:
        """The current stream of a device waits for a call after which `age` others were issued."""
        self.sequence.append(Instruction(Opcode.WAIT_FOR_CALL, age, self.current_stream(device)))

    # -- synchronisation ---------------------------------------------------------------------------------------------------------------

    def recorded_event(self, stream: StreamKey) -> int:
        return self.count(Instruction(Opcode.RECORD_EVENT, stream=self.stream_number(stream)))

    def waited_for_event(self, event: int, stream: StreamKey | None) -> None:
        age = self._counts[Opcode.RECORD_EVENT] - 1 - event
        if stream is None:
            self.sequence.append(Instruction(Opcode.SYNCHRONIZE_EVENT, age))
        else:
            self.sequence.append(Instruction(Opcode.WAIT_FOR_EVENT, age, self.stream_number(stream)))

    def waited_for_stream(self, waited_for: StreamKey, stream: StreamKey | None) -> None:
        other = self.stream_number(waited_for)
        if stream is None:
            self.sequence.append(Instruction(Opcode.SYNCHRONIZE_STREAM, stream=other))
        else:
            self.sequence.append(Instruction(Opcode.WAIT_FOR_STREAM, other, self.stream_number(stream)))

    def host_waited(self, device: int) -> None:
        self.sequence.append(Instruction(Opcode.SYNCHRONIZE_STREAM, stream=self.current_stream(device)))

    def synchronized(self, device: int) -> None:
        self.sequence.append(Instruction(Opcode.SYNCHRONIZE, self._devices[device]))

    # -- numbers -----------------------------------------------------------------------------------------------------------------------

    def count(self, instruction: Instruction) -> int:
        """Add an instruction, and return how many of its kind there were before."""
        self.sequence.append(instruction)
        number = self._counts[instruction.opcode]
        self._counts[instruction.opcode] = number + 1
        return number

    def stream_number(self, stream: StreamKey) -> int:
        """The number of a stream, which may be new."""
        number = self._stream_numbers.get(stream)
        if number is None:
            device, priority, index = stream
            ordinal = self._devices[device]  # whoever listens to the first use of a device may number its default stream
            number = self._stream_numbers.setdefault(stream, len(self.streams))
            if number == len(self.streams):
                self.streams.append(DeviceStream(device=ordinal, priority=priority, index=index))
                self.stream_keys.append(stream)
                self._journal.event(Event.STREAM, *stream)
        return number
