"""Runs of compiled functions become one operation: what it reads, what it writes, and where it is executed."""

from collections.abc import Sequence

import pytest

from fakerun.analysis.time.costs import OperationKind
from fakerun.analysis.time.operations import OperationCosts
from fakerun.analysis.time.operations.fusion import fused_program
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.measured import measured_operations
from fakerun.records.collective import Phase
from fakerun.records.device_program import BlockUses, DeviceProgram, DeviceStream, Instruction, Opcode, Operation, check_program, program_of
from fakerun.records.memory import Category, MemoryBlock
from tests.oracles.operation_times import operation, tensor

HALF = tensor("bfloat16", 8192, 4096)
SINGLE = tensor("float32", 8192, 4096)
BLOCK = MemoryBlock(
    nbytes=1 << 26,
    requested_bytes=1 << 26,
    category=Category.ACTIVATION,
    phase=Phase.FORWARD,
    module=None,
    call_site=None,
    shape=(8192, 4096),
    dtype="bfloat16",
    device=0,
)


class CompiledCode:
    """Builds a program with one compiled function by hand."""

    def __init__(self) -> None:
        self.sequence: list[int | Instruction] = [Instruction(Opcode.BEGIN_COMPILED)]
        self.operations: list[Operation] = []
        self.uses: list[BlockUses] = []
        self.allocated = 0

    def does(self, made: Operation, reads: Sequence[int], writes: Sequence[int], *, allocates: int = 1, compiled: bool = True) -> None:
        for _ in range(allocates):
            self.sequence.append(self.allocated)
            self.allocated += 1
        self.sequence.append(Instruction(Opcode.EXECUTE, len(self.operations)))
        self.operations.append(made)
        if compiled:
            self.sequence.append(Instruction(Opcode.USE_BLOCKS, len(self.uses)))
            self.uses.append(BlockUses(reads=tuple(reads), writes=tuple(writes)))

    def frees(self, allocation: int) -> None:
        self.sequence.append(~allocation)

    def program(self) -> DeviceProgram:
        self.sequence.append(Instruction(Opcode.END_COMPILED))
        made = program_of(
            [BLOCK] * self.allocated,
            self.sequence,
            operations=self.operations,
            streams=[DeviceStream(device=0)],
            uses=self.uses,
            step_ends=[len(self.sequence)],
        )
        check_program(made)
        return made


def executed(program: DeviceProgram) -> list[Operation]:
    check_program(program)
    return [program.operations[each.operand] for each in program.issued() if each.opcode is Opcode.EXECUTE]


ADD = operation("add.Tensor", HALF, HALF, results=[HALF])
SILU = operation("silu.default", HALF, results=[HALF])
MM = operation("mm.default", HALF, tensor("bfloat16", 4096, 4096), results=[HALF])
WIDEN = operation("_to_copy.default", HALF, "dtype=torch.float32", results=[SINGLE])
NARROW = operation("_to_copy.default", SINGLE, "dtype=torch.bfloat16", results=[HALF])


def test_a_run_reads_from_outside_once_and_writes_what_lives() -> None:
    code = CompiledCode()
    code.does(ADD, [0, 1], [2])
    code.does(SILU, [2], [3])
    code.frees(0)  # the sum
    code.does(ADD, [3, 0], [4])
    code.frees(1)  # its SiLU
    (only,) = executed(fused_program(code.program()))
    assert only == Operation("fakerun_compiled.pointwise", f"{HALF}, {HALF}, 1", HALF)


def test_a_product_ends_a_run_and_what_it_reads_is_written() -> None:
    code = CompiledCode()
    code.does(ADD, [0, 1], [2])
    code.does(SILU, [2], [3])
    code.does(MM, [3, 4], [5])
    code.frees(1)  # what the product has read
    code.frees(0)
    code.does(SILU, [5], [6])
    code.does(ADD, [6, 2], [7])
    first, product, second = executed(fused_program(code.program()))
    assert first == Operation("fakerun_compiled.pointwise", f"{HALF}, {HALF}, 1", ", ".join([HALF, HALF]))  # 3 for the product, 2 for later
    assert product == MM
    assert second.arguments == f"{HALF}, {HALF}, 1"


def test_wider_copies_are_not_saved_for_backward() -> None:
    code = CompiledCode()
    code.does(WIDEN, [0], [1])
    code.does(operation("mul.Tensor", SINGLE, SINGLE, results=[SINGLE]), [1], [2])
    code.does(NARROW, [2], [3])
    (only,) = executed(fused_program(code.program()))
    assert (only.arguments, only.results) == (f"{HALF}, 1", HALF)


def test_what_is_written_in_place_from_outside_is_written() -> None:
    code = CompiledCode()
    code.does(SILU, [0], [1])
    code.frees(0)
    code.does(operation("add_.Tensor", HALF, HALF), [2, 1], [2], allocates=0)
    (only,) = executed(fused_program(code.program()))
    assert (only.arguments, only.results) == (f"{HALF}, {HALF}, 1", HALF)


def test_other_operations_and_waits_end_a_run() -> None:
    for other in (Instruction(Opcode.WAIT_FOR_STREAM), None):
        code = CompiledCode()
        code.does(SILU, [0], [1])
        if other is not None:
            code.sequence.append(other)
        else:
            code.does(ADD, [], [], compiled=False)
        code.does(SILU, [1], [2])
        program = code.program()
        assert executed(fused_program(program)) == executed(program)


def test_a_program_without_compiled_functions_is_as_it_was() -> None:
    program = program_of([BLOCK], [0, Instruction(Opcode.EXECUTE, 0)], operations=[SILU], streams=[DeviceStream(device=0)])
    assert fused_program(program) is program


def test_steps_end_where_they_did() -> None:
    code = CompiledCode()
    code.does(ADD, [0, 1], [2])
    code.does(SILU, [2], [3])
    program = code.program()
    fused = fused_program(program)
    assert fused.step_ends == (len(fused.order),)
    assert len(fused.order) == len(program.order) - 3  # an operation, and the blocks of two


@pytest.mark.parametrize(
    ("name", "shape", "made"),
    [
        ("rms_norm, composed", (8192, 4096), Operation("fakerun_compiled.norm", f"{HALF}, 1", HALF)),
        ("add and rms_norm", (8192, 4096), Operation("fakerun_compiled.norm", f"{HALF}, {HALF}, 1", f"{HALF}, {HALF}")),
        ("four times silu, mul, add", (8192, 4096), Operation("fakerun_compiled.pointwise", f"{HALF}, {HALF}, {HALF}, 1", HALF)),
        ("cross_entropy of a cast", (8192, 4096), Operation("fakerun_compiled.loss", f"{HALF}, 1", "float32[]")),
    ],
)
def test_a_run_costs_what_compiled_code_took(name: str, shape: tuple[int, ...], made: Operation) -> None:
    entries = measured_operations("h100-80gb")["entries"]
    measured = [
        each
        for each in entries
        if each["kind"] == "compiled" and (each["name"], tuple(each["shape"]), each["pass"]) == (name, shape, "forward")
    ]
    cost = OperationCosts(hardware_named("h100-80gb")).of(made)
    assert cost is not None
    assert cost.kind in (OperationKind.NORM, OperationKind.POINTWISE, OperationKind.LOSS)
    assert measured
    for entry in measured:
        assert cost.seconds * 1e6 == pytest.approx(entry["us_median"], rel=0.1)
