"""A device program as it is played: what matters for time, from the step before the measured one on, its operations as runs."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, auto

from fakerun.records.collective import P2P_OPS, Phase
from fakerun.records.device_program import DeviceProgram, Opcode
from fakerun.records.schedule import Schedule


class Action(IntEnum):
    """What a step of the play does. The comments say what its two numbers are; events and calls are counted from the program's start."""

    RUN = auto()
    """The number of the run, the stream."""
    CALL = auto()
    """The number of the call among those on devices, the stream."""
    WAIT_FOR_CALL = auto()
    """As of CALL."""
    RECORD_EVENT = auto()
    """0, the stream."""
    WAIT_FOR_EVENT = auto()
    """The number of the event, the stream."""
    WAIT_FOR_STREAM = auto()
    """The other stream, the stream."""
    SYNCHRONIZE_EVENT = auto()
    """The number of the event, 0."""
    SYNCHRONIZE_STREAM = auto()
    """0, the stream."""
    SYNCHRONIZE = auto()
    """The ordinal of the device, 0."""
    SYNCHRONIZE_ALL = auto()
    """0, 0."""
    BEGIN_REPLAY = auto()
    """0, 0. Of what follows until END_REPLAY the host issues nothing: it is one graph, launched here."""
    END_REPLAY = auto()
    """0, 0."""
    STEP_END = auto()
    """The number of the step, 0."""


Item = tuple[Action, int, int]

_ACTIONS: Mapping[Opcode, Action] = {
    Opcode.RECORD_EVENT: Action.RECORD_EVENT,
    Opcode.WAIT_FOR_STREAM: Action.WAIT_FOR_STREAM,
    Opcode.SYNCHRONIZE_STREAM: Action.SYNCHRONIZE_STREAM,
    Opcode.SYNCHRONIZE: Action.SYNCHRONIZE,
    Opcode.COMMUNICATE: Action.CALL,
    Opcode.WAIT_FOR_CALL: Action.WAIT_FOR_CALL,
    Opcode.WAIT_FOR_EVENT: Action.WAIT_FOR_EVENT,
    Opcode.SYNCHRONIZE_EVENT: Action.SYNCHRONIZE_EVENT,
    Opcode.BEGIN_REPLAY: Action.BEGIN_REPLAY,
    Opcode.END_REPLAY: Action.END_REPLAY,
    Opcode.EMPTY_CACHE: Action.SYNCHRONIZE_ALL,  # cudaFree waits for the device
}
"""What instructions that are no operations and take part in time become."""

_AGES = {
    Action.WAIT_FOR_CALL: Opcode.COMMUNICATE,
    Action.WAIT_FOR_EVENT: Opcode.RECORD_EVENT,
    Action.SYNCHRONIZE_EVENT: Opcode.RECORD_EVENT,
}
"""What those that name something by its age refer to."""


@dataclass(frozen=True, slots=True)
class PlayedRun:
    """Operations by number. If it `is_replayed` they are in a graph, and the host does not issue them one by one."""

    operations: tuple[int, ...]
    is_replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlayedProgram:
    """The part of a program that is played: from the step before the measured one to the program's end.

    `runs` has each distinct run once. `first_call` and `first_event` are how many were issued before the first
    item, `measured_calls` are the numbers of the calls of the measured step. The columns are of that step's operations with kernels, as in
    `OperationSpans`.
    """

    items: Sequence[Item]
    runs: Sequence[PlayedRun]
    measured_step: int
    streams: int
    first_call: int
    first_event: int
    measured_calls: range
    operation_column: Sequence[int]
    stream_column: Sequence[int]
    phase_column: Sequence[int]
    block_column: Sequence[int]


def played_program(program: DeviceProgram, schedule: Schedule, step: int, has_kernel: Sequence[bool]) -> PlayedProgram:
    """What is played of a program to measure a step; `has_kernel` says of each operation whether the device runs anything for it."""
    return _Reader(program, has_kernel, step).read(_start(program, schedule, step))


def _start(program: DeviceProgram, schedule: Schedule, step: int) -> int:
    """Where the play begins: with the step before, and in the first one after what is made once (models, groups)."""
    if step > 1:
        return program.step_ends[step - 2]
    is_forward = [each.opcode is Opcode.BEGIN_PHASE and each.operand == _FORWARD for each in program.instructions]
    is_call = [each.opcode is Opcode.COMMUNICATE for each in program.instructions]
    forward = next((position for position, number in enumerate(program.order) if is_forward[number]), 0)
    on_devices = (call for call in schedule.calls if call.device is not None)
    received = (position for position, number in enumerate(program.order[:forward]) if is_call[number] and next(on_devices).op in P2P_OPS)
    return next(received, forward)


_FORWARD = tuple(Phase).index(Phase.FORWARD)


class _Reader:
    """Reads a program from some position on."""

    def __init__(self, program: DeviceProgram, has_kernel: Sequence[bool], step: int) -> None:
        self._program = program
        self._step = step
        self._opcodes = [each.opcode for each in program.instructions]
        self._operands = [each.operand for each in program.instructions]
        self._streams = [each.stream for each in program.instructions]
        self._executes = [each.opcode in _EXECUTES for each in program.instructions]
        self._has_kernel = [each.opcode in _EXECUTES and has_kernel[each.operand] for each in program.instructions]
        self._items: list[Item] = []
        self._runs: dict[tuple[int, ...], int] = {}
        self._run: list[int] = []
        self._run_stream = 0
        self._phase = self._block = 0
        self._counts = dict.fromkeys((Opcode.COMMUNICATE, Opcode.RECORD_EVENT), 0)
        self._columns = tuple(array("i") for _ in range(4))
        self._measured_calls = range(0)

    def read(self, start: int) -> PlayedProgram:
        program = self._program
        before = program.order[:start]
        for opcode in self._counts:
            self._counts[opcode] = sum(map([each is opcode for each in self._opcodes].__getitem__, before))
        first_call, first_event = self._counts.values()
        self._phase = next((self._operands[each] for each in reversed(before) if self._opcodes[each] is Opcode.BEGIN_PHASE), _OTHER)
        self._block = next((self._operands[each] for each in reversed(before) if self._opcodes[each] is Opcode.ALLOCATE), -1)
        for step, end in enumerate((*program.step_ends, len(program.order))):
            if end >= start:
                before_step = self._counts[Opcode.COMMUNICATE]
                self._read(program.order[start:end], is_measured=step == self._step)
                if step == self._step:
                    self._measured_calls = range(before_step, self._counts[Opcode.COMMUNICATE])
                start = end
                if step < len(program.step_ends):
                    self._items.append((Action.STEP_END, step, 0))
        operations, streams, phases, blocks = self._columns
        return PlayedProgram(
            items=self._items,
            runs=tuple(map(self._played_run, self._runs)),
            measured_step=self._step,
            streams=len(program.streams) or 1,
            first_call=first_call,
            first_event=first_event,
            measured_calls=self._measured_calls,
            operation_column=operations,
            stream_column=streams,
            phase_column=phases,
            block_column=blocks,
        )

    def _read(self, numbers: Iterable[int], *, is_measured: bool) -> None:
        opcodes, operands, streams = self._opcodes, self._operands, self._streams
        executes, has_kernel = self._executes, self._has_kernel
        operation_column, stream_column, phase_column, block_column = self._columns
        for number in numbers:
            opcode = opcodes[number]
            if executes[number]:
                if streams[number] != self._run_stream:
                    self._end_run()
                    self._run_stream = streams[number]
                self._run.append(number)
                if is_measured and has_kernel[number]:
                    operation_column.append(operands[number])
                    stream_column.append(streams[number])
                    phase_column.append(self._phase)
                    block_column.append(self._block)
            elif opcode is Opcode.ALLOCATE:
                self._block = operands[number]
            elif opcode is Opcode.BEGIN_PHASE:
                self._phase = operands[number]
            elif opcode in _ACTIONS:
                self._end_run()
                self._items.append(self._item(_ACTIONS[opcode], operands[number], streams[number]))
        self._end_run()

    def _item(self, action: Action, operand: int, stream: int) -> Item:
        if action in _AGES:
            return action, self._counts[_AGES[action]] - 1 - operand, stream
        if action is Action.CALL:
            self._counts[Opcode.COMMUNICATE] += 1
            return action, self._counts[Opcode.COMMUNICATE] - 1, stream
        if action is Action.RECORD_EVENT:
            self._counts[Opcode.RECORD_EVENT] += 1
        return action, operand, stream

    def _end_run(self) -> None:
        if self._run:
            number = self._runs.setdefault(tuple(self._run), len(self._runs))
            self._items.append((Action.RUN, number, self._run_stream))
            self._run.clear()

    def _played_run(self, numbers: tuple[int, ...]) -> PlayedRun:
        return PlayedRun(tuple(map(self._operands.__getitem__, numbers)), self._opcodes[numbers[0]] is Opcode.REPLAY)


_EXECUTES = frozenset({Opcode.EXECUTE, Opcode.REPLAY})
_OTHER = tuple(Phase).index(Phase.OTHER)
