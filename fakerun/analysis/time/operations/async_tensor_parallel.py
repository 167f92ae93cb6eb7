"""Async tensor parallelism: products of compiled functions in parts, beside the communication before or behind them.

Where the compiler is asked for it (`torch._inductor.config._micro_pipeline_tp`), it makes one operation of an all-gather and the products
of what that gathers, or of a product and the reduce-scatter of its result (`torch/_inductor/fx_passes/micro_pipeline_tp.py` and
`torch/distributed/_symmetric_memory`, 2.13). The record has one after the other. With n ranks the rows of each product are done in n parts:

- those of a rank's own rows need no communication, the others wait for their rows: n - 1 parts run beside the all-gather, one after it;
- the rows of the first part are sent when they are there: one part runs before the reduce-scatter, n - 1 beside it, and a kernel of its
  own adds up what has arrived.

Copies that lay the rows out for a collective are not made. Only products with the gathered, or scattered, rows as theirs take part: those
of gradients of weights do not. What it leaves out: the transfers are by copy engines, which take no multiprocessors; their cost here is
that of the collective, whose kernels take some.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from fakerun.analysis.time.operations.described_operation import DescribedOperation
from fakerun.device_memory.kernels.operands import TensorOperand, operands_of, tensor_text
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.device_program import BlockUses, DeviceProgram, Instruction, Opcode, Operation
from fakerun.records.finding_code import FindingCode
from fakerun.records.run import RankRecord

_PRODUCTS = frozenset({"aten.mm.default", "aten._scaled_mm.default"})
_LAYS_OUT = "aten.cat.default"
_NO_KERNEL = Operation(name="aten.alias.default", arguments="")
_BESIDE = frozenset({Opcode.ALLOCATE, Opcode.FREE, Opcode.RECORD_STREAM, Opcode.USE_BLOCKS})
"""What may stand between the parts of a pattern."""


def with_overlapped_products(records: Iterable[RankRecord]) -> list[RankRecord]:
    """The records with the products of async tensor parallelism beside its collectives, where it was asked for.

    Ranks that share a program share the changed one.
    """
    changed: dict[int, tuple[DeviceProgram, DeviceProgram]] = {}
    found = []
    for record in records:
        program = record.program
        if program.uses and any(each.code is FindingCode.NOT_OVERLAPPED for each in record.findings):
            if id(program) not in changed:
                changed[id(program)] = program, overlapped_program(program, record.collectives)
            record = replace(record, program=changed[id(program)][1])
        found.append(record)
    return found


def overlapped_program(program: DeviceProgram, calls: Sequence[CollectiveRecord]) -> DeviceProgram:
    """The program of a rank that issued `calls`, with such products beside their collectives."""
    rewriting = _Rewriting(program)
    for steps in _functions(program, [call for call in calls if call.device is not None]):
        for index, step in enumerate(steps):
            wait = None if step.call is None else _wait_for(steps, index)
            if wait is not None and step.call is not None and step.call.op is CollectiveOp.ALL_GATHER_INTO_TENSOR:
                _overlap_gather(rewriting, steps, step.call, wait)
            elif wait is not None and step.call is not None and step.call.op is CollectiveOp.REDUCE_SCATTER_TENSOR:
                _overlap_scatter(rewriting, steps, index, steps[wait])
    return rewriting.result()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Step:
    """An instruction of a compiled function: a call, an operation with what it uses, or something else."""

    position: int
    instruction: Instruction
    call: CollectiveRecord | None = None
    operation: Operation | None = None
    uses: BlockUses | None = None

    def first_operand(self) -> TensorOperand | None:
        """The rows of a product; None if the operation is none, or its rows are columns in memory."""
        if self.operation is None or self.operation.name not in _PRODUCTS:
            return None
        tensors = operands_of(self.operation.arguments).tensors
        return tensors[0] if len(tensors[0].sizes) == 2 and tensors[0].strides is None else None

    def lays_out(self, numel: int) -> bool:
        """Whether it is a copy that makes one tensor of so many elements."""
        if self.operation is None or self.operation.name != _LAYS_OUT:
            return False
        return [each.numel for each in DescribedOperation(self.operation).results] == [numel]


def _functions(program: DeviceProgram, calls: Sequence[CollectiveRecord]) -> Iterator[Sequence[_Step]]:
    """The compiled functions of a program, whose calls on devices are these."""
    steps: list[_Step] | None = None
    issued = 0
    for position, number in enumerate(program.order):
        instruction = program.instructions[number]
        opcode = instruction.opcode
        if opcode is Opcode.COMMUNICATE:
            issued += 1
        if opcode is Opcode.BEGIN_COMPILED:
            steps = []
        elif steps is None:
            continue
        elif opcode is Opcode.END_COMPILED:
            yield steps
            steps = None
        elif opcode is Opcode.USE_BLOCKS and steps:
            steps[-1] = replace(steps[-1], uses=program.uses[instruction.operand])
        elif opcode not in _BESIDE:
            call = calls[issued - 1] if opcode is Opcode.COMMUNICATE else None
            operation = program.operations[instruction.operand] if opcode is Opcode.EXECUTE else None
            steps.append(_Step(position=position, instruction=instruction, call=call, operation=operation))


def _wait_for(steps: Sequence[_Step], index: int) -> int | None:
    """Where the stream that a call was issued on waits for it; None if anything but operations comes before."""
    wait = Instruction(Opcode.WAIT_FOR_CALL, 0, steps[index].instruction.stream)
    following = next((at for at in range(index + 1, len(steps)) if steps[at].operation is None), None)
    return None if following is None or steps[following].instruction != wait else following


def _overlap_gather(rewriting: "_Rewriting", steps: Sequence[_Step], call: CollectiveRecord, at: int) -> None:
    """Put the wait for an all-gather, which is at that place, before the last part of the products of what it gathers."""
    wait = steps[at]
    gathered, ranks = _numel(call.output_sizes), call.group_size
    following = steps[at + 1 :]
    copy = following[0] if following and following[0].lays_out(gathered) else None
    block = copy.uses.writes[-1] if copy is not None and copy.uses is not None and copy.uses.writes else None
    products: list[_Step] = []
    for step in following[copy is not None :]:
        if step.operation is None:
            break
        read = step.uses.reads[0] if step.uses is not None and step.uses.reads else None
        if _takes_part(step, gathered, ranks) and (block is None or read == block):
            block = read
            products.append(step)
    if not products:
        return
    parts = [rewriting.part(step, ranks) for step in products]
    rewriting.replace(wait, ())
    rewriting.replace(products[0], (*parts * (ranks - 1), wait.instruction, *parts))
    for step in (*products[1:], *([] if copy is None else [copy])):
        rewriting.replace(step, (rewriting.execute(_NO_KERNEL, step),))


def _overlap_scatter(rewriting: "_Rewriting", steps: Sequence[_Step], index: int, wait: _Step) -> None:
    """Issue a reduce-scatter behind the first part of the product whose result it scatters."""
    scatter, call = steps[index], steps[index].call
    assert call is not None
    numel, ranks = _numel(call.input_sizes), call.group_size
    before = steps[:index]
    copy = before[-1] if before and before[-1].lays_out(numel) else None
    product = before[-1 - (copy is not None)] if len(before) > (copy is not None) else None
    if product is None or rewriting.is_replaced(product) or not _takes_part(product, None, ranks):
        return
    assert product.operation is not None
    (result,) = DescribedOperation(product.operation).results
    if result.numel != numel or (copy is not None and not _passes_on(product, copy)):
        return
    part = rewriting.part(product, ranks)
    rewriting.replace(product, (part, scatter.instruction, *[part] * (ranks - 1)))
    rewriting.replace(scatter, ())
    if copy is not None:
        rewriting.replace(copy, (rewriting.execute(_NO_KERNEL, copy),))
    arrived = TensorOperand(result.dtype, (ranks, numel // ranks))
    total = Operation(
        name="aten.sum.dim_IntList",
        arguments=f"{tensor_text(arrived)}, [0]",
        results=tensor_text(TensorOperand(result.dtype, (numel // ranks,))),
    )
    rewriting.replace(wait, (wait.instruction, rewriting.execute(total, product)))


def _takes_part(step: _Step, gathered: int | None, ranks: int) -> bool:
    """Whether the operation is a product whose rows divide by the ranks, and are those that were gathered."""
    rows = step.first_operand()
    return rows is not None and ranks > 1 and rows.sizes[0] % ranks == 0 and gathered in (None, rows.numel)


def _passes_on(product: _Step, copy: _Step) -> bool:
    """Whether the copy reads what the product wrote."""
    return product.uses is not None and copy.uses is not None and not set(product.uses.writes).isdisjoint(copy.uses.reads)


def _numel(sizes: Iterable[Sequence[int]]) -> int:
    return sum(TensorOperand("", tuple(each)).numel for each in sizes)


@dataclass(slots=True)
class _Rewriting:
    """Other instructions at some positions of a program."""

    program: DeviceProgram
    _replaced: dict[int, Sequence[Instruction]] = field(default_factory=dict)
    _numbers: dict[Operation, int] = field(default_factory=dict)

    def replace(self, step: _Step, instructions: Sequence[Instruction]) -> None:
        self._replaced[step.position] = instructions

    def is_replaced(self, step: _Step) -> bool:
        return step.position in self._replaced

    def execute(self, operation: Operation, like: _Step) -> Instruction:
        """Execute an operation on the stream of another."""
        number = self._numbers.setdefault(operation, len(self.program.operations) + len(self._numbers))
        return Instruction(Opcode.EXECUTE, number, like.instruction.stream)

    def part(self, step: _Step, ranks: int) -> Instruction:
        """One of so many equal parts of the rows of a product; their scales, one to a row, are divided, too."""
        assert step.operation is not None
        rows = operands_of(step.operation.arguments).tensors[0].sizes[0]
        whole, part = f"[{rows},", f"[{rows // ranks},"
        arguments = step.operation.arguments.replace(whole, part, 1).replace(f"{whole}1]", f"{part}1]")
        return self.execute(replace(step.operation, arguments=arguments, results=step.operation.results.replace(whole, part)), step)

    def result(self) -> DeviceProgram:
        """The program with what was replaced."""
        if not self._replaced:
            return self.program
        numbers = {instruction: number for number, instruction in enumerate(self.program.instructions)}
        order: list[int] = []
        lengths = []
        for position, number in enumerate(self.program.order):
            replaced = self._replaced.get(position)
            before = len(order)
            if replaced is None:
                order.append(number)
            else:
                order.extend(numbers.setdefault(each, len(numbers)) for each in replaced)
            lengths.append(len(order) - before)
        before_position = (0, *accumulate(lengths))
        return replace(
            self.program,
            operations=(*self.program.operations, *self._numbers),
            instructions=tuple(numbers),
            order=tuple(order),
            step_ends=tuple(map(before_position.__getitem__, self.program.step_ends)),
        )
