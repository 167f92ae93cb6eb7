"""A `foreach` step of two parameters as a device program, by hand."""

from collections.abc import Sequence
from itertools import accumulate

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.memory import Category, MemoryBlock
from tests.unit.records_by_hand import MIB, block

SIZES = (64 * MIB, 128 * MIB)
_OPTIMIZER = Instruction(Opcode.BEGIN_PHASE, list(Phase).index(Phase.OPTIMIZER))
_OTHER = Instruction(Opcode.BEGIN_PHASE, list(Phase).index(Phase.OTHER))


def of_optimizer(nbytes: int, category: Category) -> MemoryBlock:
    return block(nbytes, category, phase=Phase.OPTIMIZER, call_site="train.py:9", module=f"layer{nbytes // MIB}")


def foreach_program(operators: Sequence[str], *, states: int = 2, made_by: Sequence[str] = ("sqrt.default",)) -> DeviceProgram:
    """Two steps with these operators on lists of two parameters of `SIZES`, which have so many states each, made in the first step.

    Those of `made_by` return a tensor for each parameter, which lives to the end of the step.
    """
    kept = [of_optimizer(size, Category.OPTIMIZER_STATE) for size in SIZES for _ in range(states)]
    blocks = list(kept)
    sequence: list[int | Instruction] = [_OPTIMIZER, *range(len(kept))]
    ends = []
    for _ in range(2):
        made: list[int] = []
        for number, name in enumerate(operators):
            if name in made_by:
                made += range(len(blocks), len(blocks) + len(SIZES))
                blocks += [of_optimizer(size, Category.TEMPORARY) for size in SIZES]
                sequence += made[-len(SIZES) :]
            sequence.append(Instruction(Opcode.EXECUTE, number, 0))
        sequence += [*(~each for each in made), _OTHER]
        ends.append(len(sequence))
        sequence.append(_OPTIMIZER)
    operations = [Operation(f"aten._foreach_{name}", "") for name in operators]
    return program_of(blocks, sequence, operations=operations, streams=(DeviceStream(device=0),), step_ends=ends)


def allocated_peak(program: DeviceProgram) -> int:
    """The most bytes that are allocated at a time."""
    timeline = timeline_of(program)
    changes = (timeline.blocks[event].nbytes if event >= 0 else -timeline.blocks[~event].nbytes for event in timeline.events)
    return max(accumulate(changes))
