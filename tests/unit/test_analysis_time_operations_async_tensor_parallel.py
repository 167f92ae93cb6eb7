"""Products of async tensor parallelism: in parts beside the collective whose rows they take or make, and nothing else is moved."""

from collections.abc import Sequence
from dataclasses import replace

from fakerun.analysis.time.operations.async_tensor_parallel import overlapped_program, with_overlapped_products
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.device_program import (
    BlockUses,
    DeviceProgram,
    DeviceStream,
    Instruction,
    Opcode,
    Operation,
    check_program,
    program_of,
)
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from tests.oracles.operation_times import operation, tensor
from tests.unit.records_by_hand import collective

RANKS = 4
SHARD, WHOLE = tensor("bfloat16", 2, 64, 32), tensor("bfloat16", 2, 256, 32)
ROWS = tensor("bfloat16", 512, 32)
LAY_OUT = operation("cat.default", f"[{SHARD} x 4]", "1", results=[WHOLE])
NARROW = operation("mm.default", ROWS, tensor("bfloat16", 32, 16), results=[tensor("bfloat16", 512, 16)])
WIDE = operation("mm.default", ROWS, tensor("bfloat16", 32, 64), results=[tensor("bfloat16", 512, 64)])
OF_WEIGHT = operation(
    "mm.default", tensor("bfloat16", 32, 512, strides=[1, 32]), tensor("bfloat16", 512, 16), results=[tensor("bfloat16", 32, 16)]
)
BACK = operation("mm.default", tensor("bfloat16", 512, 16), tensor("bfloat16", 16, 32), results=[ROWS])
LAY_OUT_TO_SCATTER = operation("cat.default", f"[{SHARD} x 4]", results=[tensor("bfloat16", 8, 64, 32)])
SILU = operation("silu.default", ROWS, results=[ROWS])
ADD = operation("add.Tensor", ROWS, ROWS, results=[ROWS])

NARROW_PART = operation("mm.default", tensor("bfloat16", 128, 32), tensor("bfloat16", 32, 16), results=[tensor("bfloat16", 128, 16)])
WIDE_PART = operation("mm.default", tensor("bfloat16", 128, 32), tensor("bfloat16", 32, 64), results=[tensor("bfloat16", 128, 64)])
BACK_PART = operation("mm.default", tensor("bfloat16", 128, 16), tensor("bfloat16", 16, 32), results=[tensor("bfloat16", 128, 32)])
TOTAL = operation("sum.dim_IntList", tensor("bfloat16", 4, 4096), "[0]", results=[tensor("bfloat16", 4096)])
NOTHING = operation("alias.default")

GATHER = collective(CollectiveOp.ALL_GATHER_INTO_TENSOR, input_sizes=((2, 64, 32),), output_sizes=((8, 64, 32),))
SCATTER = collective(CollectiveOp.REDUCE_SCATTER_TENSOR, input_sizes=((8, 64, 32),), output_sizes=((2, 64, 32),))


class Code:
    """Builds a program by hand: operations with the blocks that they use, calls with their waits."""

    def __init__(self) -> None:
        self.sequence: list[int | Instruction] = []
        self.operations: list[Operation] = []
        self.uses: list[BlockUses] = []
        self.calls: list[CollectiveRecord] = []

    def begin(self) -> None:
        self.sequence.append(Instruction(Opcode.BEGIN_COMPILED))

    def end(self) -> None:
        self.sequence.append(Instruction(Opcode.END_COMPILED))

    def does(self, made: Operation, reads: Sequence[int], writes: Sequence[int], *, compiled: bool = True) -> None:
        self.sequence.append(Instruction(Opcode.EXECUTE, len(self.operations)))
        self.operations.append(made)
        if compiled:
            self.sequence.append(Instruction(Opcode.USE_BLOCKS, len(self.uses)))
            self.uses.append(BlockUses(reads=tuple(reads), writes=tuple(writes)))

    def calls_and_waits(self, call: CollectiveRecord, *, waits: bool = True) -> None:
        self.calls.append(call)
        self.sequence.append(Instruction(Opcode.COMMUNICATE))
        if waits:
            self.sequence.append(Instruction(Opcode.WAIT_FOR_CALL))

    def program(self) -> DeviceProgram:
        made = program_of(
            [],
            self.sequence,
            operations=self.operations,
            streams=[DeviceStream(device=0)],
            uses=self.uses,
            step_ends=[len(self.sequence)],
        )
        check_program(made)
        return made

    def overlapped(self) -> list[Operation | Opcode]:
        """What the changed program executes, calls and waits for, in order."""
        return issued(overlapped_program(self.program(), self.calls))

    def is_left_alone(self) -> bool:
        program = self.program()
        return overlapped_program(program, self.calls) is program


def issued(program: DeviceProgram) -> list[Operation | Opcode]:
    check_program(program)
    assert program.step_ends == (len(program.order),)
    shown = (Opcode.EXECUTE, Opcode.COMMUNICATE, Opcode.WAIT_FOR_CALL)
    return [
        program.operations[each.operand] if each.opcode is Opcode.EXECUTE else each.opcode
        for each in program.issued()
        if each.opcode in shown
    ]


def gather() -> Code:
    """An all-gather, its copy (block 1), two products of it, one of the gradient of a weight, and what follows."""
    code = Code()
    code.begin()
    code.calls_and_waits(GATHER)
    code.does(LAY_OUT, [0], [1])
    code.does(NARROW, [1, 2], [3])
    code.does(OF_WEIGHT, [1, 3], [4])
    code.does(WIDE, [1, 5], [6])
    code.does(SILU, [6], [7])
    code.end()
    return code


def scatter(before: Operation = BACK) -> Code:
    """A product, its copy (block 3), and a reduce-scatter."""
    code = Code()
    code.begin()
    code.does(before, [0, 1], [2])
    code.does(LAY_OUT_TO_SCATTER, [2], [3])
    code.calls_and_waits(SCATTER)
    code.does(SILU, [4], [5])
    code.end()
    return code


def test_all_parts_but_one_run_beside_the_all_gather() -> None:
    parts = [NARROW_PART, WIDE_PART]
    assert gather().overlapped() == [
        Opcode.COMMUNICATE,
        NOTHING,  # in place of the copy
        *parts * 3,
        Opcode.WAIT_FOR_CALL,
        *parts,
        OF_WEIGHT,
        NOTHING,  # in place of the second product
        SILU,
    ]


def test_the_reduce_scatter_runs_beside_all_parts_but_the_first() -> None:
    assert scatter().overlapped() == [
        BACK_PART,
        Opcode.COMMUNICATE,
        *[BACK_PART] * 3,
        NOTHING,
        Opcode.WAIT_FOR_CALL,
        TOTAL,
        SILU,
    ]


def test_rows_that_are_gathered_in_place_need_no_copy() -> None:
    code = Code()
    code.begin()
    code.calls_and_waits(GATHER)
    code.does(NARROW, [0, 1], [2])
    code.does(WIDE, [3, 4], [5])  # of other rows
    code.end()
    assert code.overlapped() == [Opcode.COMMUNICATE, *[NARROW_PART] * 3, Opcode.WAIT_FOR_CALL, NARROW_PART, WIDE]


def test_scales_of_rows_are_divided_and_those_of_the_tensor_are_not() -> None:
    eight = tensor("float8_e4m3fn", 512, 32), tensor("float8_e4m3fn", 32, 512, strides=[1, 32])
    for scales, of_part in (
        (["float32[512,1]", "float32[1,512]"], ["float32[128,1]", "float32[1,512]"]),
        (["float32[]"] * 2, ["float32[]"] * 2),
    ):
        whole = operation("_scaled_mm.default", *eight, *scales, "torch.bfloat16", results=[tensor("bfloat16", 512, 512)])
        part = operation(
            "_scaled_mm.default",
            tensor("float8_e4m3fn", 128, 32),
            eight[1],
            *of_part,
            "torch.bfloat16",
            results=[tensor("bfloat16", 128, 512)],
        )
        code = Code()
        code.begin()
        code.calls_and_waits(GATHER)
        code.does(whole, [0, 1, 2, 3], [4])
        code.end()
        assert code.overlapped() == [Opcode.COMMUNICATE, *[part] * 3, Opcode.WAIT_FOR_CALL, part]


def test_a_sum_of_products_is_not_scattered_in_parts() -> None:
    assert scatter(before=ADD).is_left_alone()


def test_a_product_of_something_else_is_not_scattered_in_parts() -> None:
    code = scatter()
    code.uses[1] = BlockUses(reads=(9,), writes=(10,))
    assert code.is_left_alone()


def test_rows_that_do_not_divide_are_left_alone() -> None:
    code = gather()
    code.calls = [replace(GATHER, group_ranks=(0, 1, 2))]
    assert code.is_left_alone()


def test_what_comes_between_a_call_and_its_wait_stays_there() -> None:
    code = Code()
    code.begin()
    code.calls_and_waits(GATHER, waits=False)
    code.does(SILU, [7], [8])
    code.sequence.append(Instruction(Opcode.WAIT_FOR_CALL))
    code.does(NARROW, [0, 1], [2])
    code.end()
    assert code.overlapped() == [Opcode.COMMUNICATE, SILU, *[NARROW_PART] * 3, Opcode.WAIT_FOR_CALL, NARROW_PART]


def test_what_is_not_waited_for_is_left_alone() -> None:
    code = Code()
    code.begin()
    code.calls_and_waits(GATHER, waits=False)
    code.does(NARROW, [0, 1], [2])
    code.end()
    assert code.is_left_alone()


def test_a_product_behind_the_next_call_is_left_alone() -> None:
    code = Code()
    code.begin()
    code.calls_and_waits(GATHER)
    code.calls_and_waits(collective(CollectiveOp.ALL_REDUCE))
    code.does(NARROW, [0, 1], [2])
    code.end()
    assert code.is_left_alone()


def test_what_is_not_compiled_is_left_alone() -> None:
    code = Code()
    code.calls_and_waits(GATHER)
    code.does(NARROW, [0, 1], [2], compiled=False)
    assert code.is_left_alone()


def test_a_product_between_two_collectives_is_overlapped_once() -> None:
    square = operation("mm.default", ROWS, tensor("bfloat16", 32, 32), results=[ROWS])
    part = operation("mm.default", tensor("bfloat16", 128, 32), tensor("bfloat16", 32, 32), results=[tensor("bfloat16", 128, 32)])
    code = Code()
    code.begin()
    code.calls_and_waits(GATHER)
    code.does(square, [0, 1], [2])
    code.calls_and_waits(SCATTER)
    code.end()
    assert code.overlapped() == [
        Opcode.COMMUNICATE,
        *[part] * 3,
        Opcode.WAIT_FOR_CALL,
        part,
        Opcode.COMMUNICATE,
        Opcode.WAIT_FOR_CALL,
    ]


def test_only_ranks_that_ask_for_it_are_changed_and_share_the_changed_program() -> None:
    code = gather()
    program = code.program()
    asked = Finding(code=FindingCode.NOT_OVERLAPPED, message="asked for")
    plain, first, second = (
        RankRecord(rank=rank, program=program, collectives=tuple(code.calls), findings=findings)
        for rank, findings in enumerate(((), (asked,), (asked,)))
    )
    unchanged, one, other = with_overlapped_products([plain, first, second])
    assert unchanged is plain
    assert one.program is other.program is not program
    assert issued(one.program) == gather().overlapped()
