"""Operations whose time is that of the bytes they move: distinct elements read and written, over what kernels reach of the bandwidth.

Some do not keep the memory busy, since a multiprocessor takes few elements a cycle; `limits` has how many, measured on Hopper. Other cards
are taken to need as many cycles an element.
"""

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation, distinct_bytes
from fakerun.analysis.time.operations.limits import (
    CONVERTED_PER_CYCLE,
    FILLED_PER_CYCLE,
    MIXED_TYPES_PER_CYCLE,
    STRIDED_PER_CYCLE,
    TRANSPOSED_PER_CYCLE,
    Limits,
    limits_of,
)
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates
from fakerun.device_memory.kernels.operands import TensorOperand, is_dense

_COPIES = frozenset({"_to_copy", "convert_element_type", "copy_"})
_CONCATENATIONS = frozenset({"cat", "stack"})


def moved_bytes_cost(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """The cost of an operator that has no rule of its own."""
    limits = limits_of(operation.operator)
    moved = operation.moved_bytes
    if limits.passes is not None:
        moved = max(moved, round(limits.passes * max(map(distinct_bytes, operation.read), default=0)))
    per_cycle = _elements_per_cycle(operation, limits)
    cycles = 0.0 if per_cycle is None else operation.elements / per_cycle
    if limits.cycles_per_row:
        cycles = max(cycles, limits.cycles_per_row * _rows(operation.inputs[0]))
    return OperationCost(
        kind=limits.kind,
        seconds=max(moved / rates.memory_bytes_per_s, cycles / rates.cycles_per_s) + limits.kernels * LAUNCH_S + limits.extra_s,
        basis=Basis.ROOFLINE,
        kernels=limits.kernels,
        moved_bytes=moved,
    )


_FUSED_LOSS_PER_CYCLE = 1.5
"""Elements a cycle of a multiprocessor of a compiled loss over logits: 84 us of 8,192 x 4,096 on the H100."""


def fused_cost(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """A run of a compiled function (`fusion`): its bytes, with as many kernels as its last argument says."""
    kind = OperationKind[operation.operator.upper()]
    kernels = next(iter(operation.operands.integers), 1)
    cycles = operation.elements / _FUSED_LOSS_PER_CYCLE if kind is OperationKind.LOSS else 0.0
    return OperationCost(
        kind=kind,
        seconds=max(operation.moved_bytes / rates.memory_bytes_per_s, cycles / rates.cycles_per_s) + kernels * LAUNCH_S,
        basis=Basis.ROOFLINE,
        kernels=kernels,
        moved_bytes=operation.moved_bytes,
    )


def _elements_per_cycle(operation: DescribedOperation, limits: Limits) -> float | None:
    """The tightest limit on elements a cycle of a multiprocessor."""
    found = [] if limits.elements_per_cycle is None else [limits.elements_per_cycle]
    if limits.kind in (OperationKind.POINTWISE, OperationKind.COPY):
        large = [each for each in (*operation.read, *operation.written) if each.numel > 1]
        if _converts(operation, large):
            found.append(CONVERTED_PER_CYCLE if operation.operator in _COPIES else MIXED_TYPES_PER_CYCLE)
        if any(map(_is_transposed, large)):
            found.append(TRANSPOSED_PER_CYCLE)
        elif operation.operator not in _CONCATENATIONS and not _equally_dense(large):
            found.append(STRIDED_PER_CYCLE)
        if not operation.read:
            found.append(FILLED_PER_CYCLE)
    return min(found, default=None)


def _converts(operation: DescribedOperation, tensors: list[TensorOperand]) -> bool:
    """Whether elements are converted one by one: numbers of different types, but not a copy of float32 to fewer bits."""
    numbers = {each.dtype for each in tensors if each.dtype.startswith(("float", "bfloat", "complex"))}
    if len(numbers) < 2:
        return False
    return not (operation.operator in _COPIES and operation.read and operation.read[-1].dtype == "float32")


def _equally_dense(tensors: list[TensorOperand]) -> bool:
    """Whether a kernel may take elements in the order of memory: all tensors have the same sizes and strides, and no gaps."""
    return len({(each.sizes, each.strides) for each in tensors}) <= 1 and all(map(is_dense, tensors))


def _is_transposed(tensor: TensorOperand) -> bool:
    """Whether its elements are next to each other along the last dimension but one."""
    strides = tensor.strides
    return strides is not None and len(strides) >= 2 and strides[-2] == 1 and strides[-1] > 1 and tensor.sizes[-2] > 1


def _rows(tensor: TensorOperand) -> int:
    return tensor.numel // tensor.sizes[-1] if tensor.sizes and tensor.sizes[-1] else 1
