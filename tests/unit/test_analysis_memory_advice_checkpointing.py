"""Activation checkpointing of two layers under autocast, in a program by hand: what is requested when."""

from fakerun.analysis.memory.advice.checkpointing import checkpointed
from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, check_program, program_of
from fakerun.records.memory import Category, MemoryBlock
from tests.unit.records_by_hand import MIB, block

WEIGHT, BIAS, HIDDEN, OUT = (size * MIB for size in (64, 1, 300, 200))
OF_BACKWARD, OF_WEIGHT, OF_BIAS, OF_LOSS = (size * MIB for size in (80, 40, 2, 3))

OPERATIONS = [
    Operation("aten._to_copy.default", f"float32[{WEIGHT // 4}]"),
    Operation("aten._to_copy.default", f"float32[{BIAS // 4}]"),
    Operation("aten.gelu.default", f"float32[{OUT // 4}]"),
    Operation("aten.addmm.default", f"float32[{BIAS // 4}], float32[{HIDDEN // 4}], float32[{WEIGHT // 4}]"),
    Operation("aten._to_copy.default", f"float32[{OUT // 4}]"),
    Operation("aten.mm.default", f"bfloat16[{OF_BACKWARD // 4}], float32[{WEIGHT // 4}]"),
    Operation("aten.sum.dim_IntList", f"bfloat16[{OF_BACKWARD // 4}]"),
]
CAST_WEIGHT, CAST_BIAS, GELU, ADDMM, CAST_GRADIENT, MM, SUM = (Instruction(Opcode.EXECUTE, number, 0) for number in range(7))


def begin(phase: Phase) -> Instruction:
    return Instruction(Opcode.BEGIN_PHASE, list(Phase).index(phase))


class Trained:
    """A program as it is written, with names for its blocks."""

    def __init__(self) -> None:
        self.blocks: list[MemoryBlock] = []
        self.sequence: list[int | Instruction] = []
        self._numbers: dict[str, int] = {}

    def make(self, name: str, nbytes: int, category: Category, phase: Phase, module: str | None = None) -> None:
        self._numbers[name] = len(self.blocks)
        self.sequence.append(len(self.blocks))
        self.blocks.append(block(nbytes, category, phase=phase, module=module))

    def execute(self, instruction: Instruction) -> None:
        self.sequence.append(instruction)

    def free(self, *names: str) -> None:
        self.sequence += [~self._numbers[name] for name in names]

    def forward(self, layer: int) -> None:
        module = f"layers.{layer}"
        for name, nbytes, operation in (
            ("weight", WEIGHT, CAST_WEIGHT),
            ("bias", BIAS, CAST_BIAS),
            ("hidden", HIDDEN, GELU),
            ("out", OUT, ADDMM),
        ):
            self.make(f"{name}{layer}", nbytes, Category.ACTIVATION, Phase.FORWARD, module)
            self.execute(operation)

    def backward(self, layer: int, freed_early: bool) -> None:
        module = f"layers.{layer}"
        saved = [f"{name}{layer}" for name in ("weight", "hidden", "out")]
        for name, nbytes, operation in (("cast", OF_BACKWARD, CAST_GRADIENT), ("of_weight", OF_WEIGHT, MM), ("of_bias", OF_BIAS, SUM)):
            self.make(name, nbytes, Category.TEMPORARY, Phase.BACKWARD, module)
            self.execute(operation)
            if freed_early and name == "cast":
                self.free(*saved)
        if not freed_early:
            self.free(*saved)
        self.free("cast", "of_weight", "of_bias")

    def program(self) -> DeviceProgram:
        return program_of(self.blocks, self.sequence, operations=OPERATIONS, streams=(DeviceStream(device=0),))


def trained(*, biases_are_freed: bool = True, freed_early: bool = False) -> DeviceProgram:
    """One step of two layers; casts of biases are freed when autocast ends, before the loss makes a gradient of itself."""
    program = Trained()
    program.make("parameter", WEIGHT, Category.PARAMETER, Phase.OTHER)
    program.make("parameter of bias", BIAS, Category.PARAMETER, Phase.OTHER)
    program.execute(begin(Phase.FORWARD))
    program.forward(0)
    program.forward(1)
    if biases_are_freed:
        program.free("bias0", "bias1")
    program.make("of_loss", OF_LOSS, Category.ACTIVATION, Phase.FORWARD)
    program.execute(begin(Phase.BACKWARD))
    program.backward(1, freed_early)
    program.backward(0, freed_early)
    program.free("of_loss")
    return program.program()


def edited(program: DeviceProgram) -> list[int]:
    """What the program with checkpointed layers allocates and, as negative numbers, frees: MiB."""
    ((pattern, edit),) = checkpointed(Lifetimes(program), 0)
    assert pattern == "layers.*"
    changed = edit.program()
    check_program(changed)
    made: list[int] = []
    changes = []
    for instruction in changed.issued():
        if instruction.opcode is Opcode.ALLOCATE:
            made.append(changed.blocks[instruction.operand].nbytes // MIB)
            changes.append(made[-1])
        elif instruction.opcode is Opcode.FREE:
            changes.append(-made[-1 - instruction.operand])
    return changes


FORWARD = [64, 1, 64, 1, 300, 200, -300, 64, 1, 300, 200, -300]
AGAIN = [64, 1, 300, 200, -1]


def test_a_module_is_computed_again_when_its_backward_reads_what_was_saved() -> None:
    """Not before the gradient is cast; what is computed again is freed before the gradient of the bias is added up."""
    of_layer = [80, -200, *AGAIN, 40, -64, -300, -200, 2, -80, -40, -2]
    assert edited(trained())[len(FORWARD) :] == [-1, -64, -64, -1, 3, *of_layer, *of_layer, -3]


def test_casts_live_to_the_end_of_autocast() -> None:
    """Where a cast that nothing saves is freed; if there is none, to where backward begins."""
    assert edited(trained())[: len(FORWARD) + 5] == [*FORWARD, -1, -64, -64, -1, 3]
    assert edited(trained(biases_are_freed=False))[: len(FORWARD) + 4] == [*FORWARD, 3, -64, -64, 80]


def test_what_is_freed_before_it_is_seen_to_be_read_was_read_by_then() -> None:
    """By a formula that executes nothing."""
    of_layer = [-200, *AGAIN, 80, -64, -300, -200, 40, 2, -80, -40, -2]
    assert edited(trained(freed_early=True))[len(FORWARD) + 5 :] == [*of_layer, *of_layer, -3]
