"""What `torch.compile` would make of operations that ran eagerly: runs of pointwise operations, casts, norms and reductions as one each.

A run is what lies between products, attention and whatever else has a kernel of its own. It moves the bytes of what it reads from outside,
each block once, and of what it writes that is used after it: by later operations of the function or, if the block lives when the function
returns, by others. Of the latter those are left out that are wider than all that the run reads: eager code saves float32 copies for
backward, which compiled code computes again.

Left out: what else is computed again in backward rather than saved, that reductions along different dimensions take kernels of their own,
and that a run on tensors of several sizes reads what they share more than once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

from fakerun.analysis.time.costs import OperationKind
from fakerun.analysis.time.operations import attention, convolutions, indexing, matrix_products, recurrent
from fakerun.analysis.time.operations.described_operation import DescribedOperation, distinct_bytes
from fakerun.analysis.time.operations.limits import limits_of
from fakerun.device_memory.kernels.operands import TensorOperand, tensor_text
from fakerun.records.device_program import BlockUses, DeviceProgram, Instruction, Opcode, Operation
from fakerun.records.run import RankRecord

NAMESPACE = "fakerun_compiled"
"""Of the operations that stand for runs. Their operator is the kind of the run; the last argument is the number of kernels."""

_FUSED = frozenset({OperationKind.POINTWISE, OperationKind.COPY, OperationKind.NORM, OperationKind.REDUCTION, OperationKind.LOSS})
_KERNELS_OF_THEIR_OWN = frozenset({"cumprod", "cumsum", "logcumsumexp", "roll"})
_EXECUTIONS = (Opcode.EXECUTE, Opcode.REPLAY)
_RULES = {**matrix_products.RULES, **attention.RULES, **convolutions.RULES, **indexing.RULES, **recurrent.RULES}
_NAMESPACES = ("aten", "prims")
_LARGE = 64
"""What is this many times smaller than the largest result of a run is no work of its own: statistics of rows, weights of a norm."""


def with_fused_programs(records: Iterable[RankRecord]) -> list[RankRecord]:
    """The records with their programs fused; ranks that share a program share the fused one."""
    fused: dict[int, tuple[DeviceProgram, DeviceProgram]] = {}
    found = []
    for record in records:
        program = record.program
        if id(program) not in fused:
            fused[id(program)] = program, fused_program(program)
        _, made = fused[id(program)]
        found.append(record if made is program else replace(record, program=made))
    return found


def fused_program(program: DeviceProgram) -> DeviceProgram:
    """The program with each run of its compiled functions as one operation; the same program if it has no such functions.

    A run is executed where its last operation was. Allocations stay, and so do the marks of functions; those of blocks do not.
    """
    if not program.uses:
        return program
    fused: dict[int, Operation | None] = {}
    for function in _Reader(program).functions():
        for run in function.runs:
            fused.update(dict.fromkeys(each.position for each in run[:-1]))
            if len(run) > 1:
                fused[run[-1].position] = _fused_operation(run, function)
    return _with(program, fused)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Executed:
    """An operation of a function: its position in the program, its stream, and the blocks that it uses."""

    position: int
    stream: int
    operation: DescribedOperation
    uses: BlockUses


@dataclass(slots=True)
class _Function:
    """A call of a compiled function, or its backward: all operations and the runs among them, blocks that it made and those that live."""

    executed: list[_Executed] = field(default_factory=list)
    runs: list[list[_Executed]] = field(default_factory=list)
    known: int = 0
    """How many blocks were used. Those that an operation makes are new, and come after those that it reads."""
    made: set[int] = field(default_factory=set)
    living: set[int] = field(default_factory=set)


class _Reader:
    """Reads the compiled functions of a program."""

    def __init__(self, program: DeviceProgram) -> None:
        self._program = program
        self._function: _Function | None = None
        self._run_is_open = False
        self._executed: tuple[int, Instruction] | None = None
        self._allocated = 0
        self._fresh: list[int] = []
        """Allocations since the last operation."""
        self._block_of: dict[int, int] = {}
        """Blocks of the function by the numbers of their allocations."""

    def functions(self) -> Iterator[_Function]:
        """The functions, each when it has ended. What comes before the first, or between them, is none."""
        for position, number in enumerate(self._program.order):
            instruction = self._program.instructions[number]
            opcode = instruction.opcode
            if opcode is Opcode.ALLOCATE:
                self._fresh.append(self._allocated)
                self._allocated += 1
            elif opcode is Opcode.BEGIN_COMPILED:
                self._begin()
            elif self._function is None:
                continue
            elif opcode is Opcode.FREE:
                self._function.living.discard(self._block_of.pop(self._allocated - 1 - instruction.operand, -1))
            elif opcode in _EXECUTIONS:
                self._run_is_open = self._run_is_open and self._executed is None
                self._executed = position, instruction
            elif opcode is Opcode.USE_BLOCKS and self._executed is not None:
                self._note(*self._executed, self._program.uses[instruction.operand], self._function)
                self._executed = None
            elif opcode is Opcode.END_COMPILED:
                yield self._function
                self._function = None
            else:
                self._run_is_open = False

    def _begin(self) -> None:
        self._function, self._run_is_open, self._executed = _Function(), False, None
        self._fresh.clear()
        self._block_of.clear()

    def _note(self, position: int, execute: Instruction, uses: BlockUses, function: _Function) -> None:
        """An operation that is compiled code, and what it made: blocks that are new, the last that were allocated before it."""
        operation = DescribedOperation(self._program.operations[execute.operand])
        executed = _Executed(position=position, stream=execute.stream, operation=operation, uses=uses)
        first = max((function.known - 1, *uses.reads)) + 1
        new = [block for block in uses.writes if block >= first]
        function.known = max((first - 1, *uses.writes)) + 1
        for block, allocation in zip(reversed(new), reversed(self._fresh), strict=False):
            self._block_of[allocation] = block
            function.made.add(block)
            function.living.add(block)
        self._fresh.clear()
        function.executed.append(executed)
        fuses = _fuses(operation)
        if fuses and self._run_is_open and function.runs[-1][-1].stream == execute.stream:
            function.runs[-1].append(executed)
        elif fuses:
            function.runs.append([executed])
        self._run_is_open = fuses


def _fuses(operation: DescribedOperation) -> bool:
    """Whether the compiler makes the operator part of a larger kernel."""
    if operation.namespace not in _NAMESPACES or operation.operator in _KERNELS_OF_THEIR_OWN:
        return False
    if operation.operator.startswith(("_foreach_", "_fused_adam", "_fused_sgd")) or not operation.written:
        return False
    if operation.operator in _RULES or any(each.on_host and each.numel > 1 for each in operation.tensors):
        return False
    return limits_of(operation.operator).kind in _FUSED


def _fused_operation(run: Sequence[_Executed], function: _Function) -> Operation:
    """What a run reads from outside, and what of it is used afterwards."""
    reads: dict[int, TensorOperand] = {}
    writes: dict[int, TensorOperand] = {}
    for each in run:
        for block, tensor in zip(each.uses.reads, _distinct(each.operation.read, each.uses.reads), strict=False):
            if block not in writes:
                reads.setdefault(block, tensor)
        writes.update(zip(each.uses.writes, _distinct(each.operation.written, each.uses.writes), strict=False))
    last = run[-1].position
    used_later = {block for each in function.executed if each.position > last for block in each.uses.reads}
    widest = max((tensor.element_bytes for tensor in reads.values()), default=8)
    kept = [
        tensor
        for block, tensor in writes.items()
        if block in used_later or block not in function.made or (block in function.living and tensor.element_bytes <= widest)
    ]
    return Operation(
        f"{NAMESPACE}.{_kind_of(run).name.lower()}",
        ", ".join((*map(tensor_text, reads.values()), str(_kernels(writes.values())))),
        ", ".join(map(tensor_text, kept)),
    )


def _distinct(tensors: Sequence[TensorOperand], blocks: Sequence[int]) -> Sequence[TensorOperand]:
    """A tensor for each block: equal ones are taken to share theirs if there are more tensors than blocks."""
    on_device = [each for each in tensors if not each.on_host]
    return on_device if len(on_device) <= len(blocks) else list(dict.fromkeys(on_device))


def _kernels(written: Iterable[TensorOperand]) -> int:
    """A kernel for each size of the large results."""
    sizes = {each.numel for each in written}
    largest = max(sizes, default=1)
    return max(sum(size * _LARGE > largest for size in sizes), 1)


def _kind_of(run: Sequence[_Executed]) -> OperationKind:
    """The kind of the operations that move most."""
    moved: Counter[OperationKind] = Counter()
    for each in run:
        moved[limits_of(each.operation.operator).kind] += sum(map(distinct_bytes, each.operation.written))
    special = [kind for kind in (OperationKind.LOSS, OperationKind.NORM) if kind in moved]
    return special[0] if special else moved.most_common(1)[0][0]


def _with(program: DeviceProgram, fused: Mapping[int, Operation | None]) -> DeviceProgram:
    """The program with other operations at these positions, None for none, and without the uses of blocks."""
    operations = list(program.operations)
    numbers: dict[Operation, int] = {}
    instructions = {instruction: number for number, instruction in enumerate(program.instructions)}
    order: list[int] = []
    kept: list[bool] = []
    for position, number in enumerate(program.order):
        instruction = program.instructions[number]
        operation = fused.get(position)
        if operation is not None:
            if operation not in numbers:
                numbers[operation] = len(operations)
                operations.append(operation)
            instruction = replace(instruction, operand=numbers[operation])
            number = instructions.setdefault(instruction, len(instructions))
        kept.append(instruction.opcode is not Opcode.USE_BLOCKS and (operation is not None or position not in fused))
        if kept[-1]:
            order.append(number)
    kept_before = (0, *accumulate(kept))
    return replace(
        program,
        operations=tuple(operations),
        instructions=tuple(instructions),
        order=tuple(order),
        step_ends=tuple(map(kept_before.__getitem__, program.step_ends)),
    )
