"""Operations by index: gathering rows of a table, adding to them, and the gradient of an embedding."""

from collections.abc import Callable, Mapping

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation, distinct_bytes
from fakerun.analysis.time.operations.limits import limits_of
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates

_SORTING_S = 100e-6
_GRADIENT_KERNELS = 16
_GRADIENT_ELEMENTS_PER_CYCLE = 0.28
"""The gradient of an embedding: sorting the indices, and elements a cycle of a multiprocessor that are summed."""

_INDEX_TYPES = ("int32", "int64")


def _gather(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Reads indices, and as much of the table as it writes."""
    indices = sum(distinct_bytes(each) for each in operation.inputs if each.dtype in _INDEX_TYPES)
    moved = indices + 2 * sum(map(distinct_bytes, operation.results))
    return OperationCost(
        kind=OperationKind.EMBEDDING if operation.operator == "embedding" else OperationKind.OTHER,
        seconds=moved / rates.memory_bytes_per_s + LAUNCH_S,
        basis=Basis.ROOFLINE,
        moved_bytes=moved,
    )


def _scatter(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Adds or writes values, the last tensor, into rows of a table; a copy of the table is made first if it is not in place."""
    values = operation.inputs[-1]
    limits = limits_of(operation.operator)
    copied = 0 if operation.is_in_place else 2 * distinct_bytes(operation.inputs[0])
    written = 3 * distinct_bytes(values)
    scattering_s = max(written / rates.memory_bytes_per_s, values.numel / ((limits.elements_per_cycle or 1.0) * rates.cycles_per_s))
    return OperationCost(
        kind=limits.kind,
        seconds=copied / rates.memory_bytes_per_s + scattering_s + LAUNCH_S,
        basis=Basis.ROOFLINE,
        kernels=1 if operation.is_in_place else 2,
        moved_bytes=copied + written,
    )


def _embedding_backward(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Zeros for the whole table, indices sorted, and gradients summed by index."""
    gradient = operation.operands.tensors[0]
    rows = next(iter(operation.operands.integers), 0)
    table_bytes = rows * gradient.sizes[-1] * gradient.element_bytes
    summing_s = gradient.numel / (_GRADIENT_ELEMENTS_PER_CYCLE * rates.cycles_per_s)
    return OperationCost(
        kind=OperationKind.EMBEDDING,
        seconds=table_bytes / rates.memory_bytes_per_s + summing_s + _SORTING_S,
        basis=Basis.ROOFLINE,
        kernels=_GRADIENT_KERNELS,
        moved_bytes=table_bytes + 2 * distinct_bytes(gradient),
    )


_GATHERS = ("embedding", "index", "_unsafe_index", "index_select", "gather", "take", "take_along_dim")
_SCATTERS = ("index_add", "scatter_add", "scatter_reduce", "index_put", "_unsafe_index_put", "index_copy", "scatter")

RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
    **dict.fromkeys(_GATHERS, _gather),
    **dict.fromkeys(_SCATTERS, _scatter),
    **dict.fromkeys((*(f"{operator}_" for operator in _SCATTERS), "_index_put_impl_"), _scatter),
    "embedding_dense_backward": _embedding_backward,
}
