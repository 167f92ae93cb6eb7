"""What would be compiled code of the operations in the device program, and which blocks they read and write."""

from collections.abc import Sequence

import torch

from fakerun.records.device_program import BlockUses, Instruction, Opcode
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.program import ProgramTrace

_END = Instruction(Opcode.END_COMPILED)


class CompiledCodeTrace:
    """Implements `CompiledCodeObserver` (fakerun.records.observer)."""

    def __init__(self, program: ProgramTrace, memory: MemoryTrace) -> None:
        self._program = program
        self._memory = memory
        self._uses: dict[BlockUses, int] = {}
        self._blocks: dict[int, int] = {}
        """The numbers within the function of the blocks that its operations used, by their numbers in the rank."""

    def began(self, *, in_backward: bool) -> None:
        self._blocks.clear()
        self._program.sequence.append(Instruction(Opcode.BEGIN_COMPILED, int(in_backward)))

    def ended(self) -> None:
        self._program.sequence.append(_END)

    def executed(self, read: Sequence[torch.Tensor], written: Sequence[torch.Tensor]) -> None:
        uses = BlockUses(reads=self._numbers(read), writes=self._numbers(written))
        number = self._uses.setdefault(uses, len(self._uses))
        if number == len(self._program.uses):
            self._program.uses.append(uses)
        self._program.sequence.append(Instruction(Opcode.USE_BLOCKS, number))

    def _numbers(self, tensors: Sequence[torch.Tensor]) -> tuple[int, ...]:
        """The blocks of the tensors, each once; empty ones have none."""
        blocks = dict.fromkeys(block.index for tensor in tensors for block in self._memory.blocks_of(tensor) if block.index >= 0)
        return tuple(self._blocks.setdefault(block, len(self._blocks)) for block in blocks)
