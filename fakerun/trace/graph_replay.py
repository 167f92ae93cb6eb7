"""A captured CUDA graph that is replayed: what the device program has of its capture is asked once more, without the host."""

from collections import defaultdict
from collections.abc import Mapping

from fakerun.records.device_program import Instruction, Opcode
from fakerun.trace.program import ProgramTrace

_AGED: Mapping[Opcode, Opcode] = {Opcode.WAIT_FOR_CALL: Opcode.COMMUNICATE, Opcode.WAIT_FOR_EVENT: Opcode.RECORD_EVENT}
"""Instructions that refer to others by how many came since, and what they refer to."""

_AS_THEY_ARE = frozenset({Opcode.BEGIN_COMPILED, Opcode.USE_BLOCKS, Opcode.END_COMPILED})
_ON_A_STREAM = frozenset({Opcode.COMMUNICATE, Opcode.RECORD_EVENT, *_AGED})


class GraphReplay:
    """One replay of the part of `program` that begins at entry `start`, captured on one stream and replayed on another, by number.

    It begins with its construction. What is captured besides operations, communication and waits is not of the device, or not possible.
    """

    def __init__(self, program: ProgramTrace, start: int, *, captured_on: int, replayed_on: int) -> None:
        self._program = program
        self._position = start
        self._streams = {captured_on: replayed_on}
        self._since_start: defaultdict[Opcode, int] = defaultdict(int)
        program.sequence.append(Instruction(Opcode.BEGIN_REPLAY))
        program.begin_phase(program.phase_at(start))

    def go_on(self, until: int) -> None:
        """Ask for what was asked up to entry `until`."""
        for entry in self._program.sequence[self._position : until]:
            if type(entry) is not int:
                self._ask(entry)  # type: ignore[arg-type]
        self._position = until

    def end(self) -> None:
        self._program.sequence.append(Instruction(Opcode.END_REPLAY))

    def _ask(self, captured: Instruction) -> None:
        opcode, operand, stream = captured.opcode, captured.operand, self._streams.get(captured.stream, captured.stream)
        program, add = self._program, self._program.sequence.append
        if opcode in (Opcode.EXECUTE, Opcode.REPLAY):
            add(Instruction(Opcode.REPLAY, operand, stream))
        elif opcode is Opcode.WAIT_FOR_STREAM:
            add(Instruction(opcode, self._streams.get(operand, operand), stream))
        elif opcode is Opcode.BEGIN_PHASE:
            program.begin_phase(program.phase_of(captured))
        elif opcode in _AS_THEY_ARE:
            add(captured)
        elif opcode in _ON_A_STREAM and (opcode not in _AGED or operand < self._since_start[_AGED[opcode]]):
            self._since_start[opcode] += 1
            program.count(Instruction(opcode, operand, stream))
