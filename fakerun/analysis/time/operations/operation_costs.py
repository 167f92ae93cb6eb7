"""OperationCosts: the cost of an operation of a device program on one accelerator, each distinct operation once."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self

from fakerun.analysis.time.costs import OperationCost, OperationKind
from fakerun.analysis.time.operations import attention, convolutions, fusion, indexing, matrix_products, recurrent, softmax, tensor_lists
from fakerun.analysis.time.operations.described_operation import DescribedOperation
from fakerun.analysis.time.operations.host_copies import host_copy_cost, is_host_copy
from fakerun.analysis.time.operations.moved_bytes import fused_cost, moved_bytes_cost
from fakerun.analysis.time.operations.rates import COMPUTING_SHARE, Rates, rates_of
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import Operation

_WITHOUT_KERNEL = frozenset(
    {
        "_conj", "_local_scalar_dense", "_neg_view", "_reshape_alias", "_unsafe_view", "alias", "as_strided", "broadcast_to",
        "chunk", "detach", "detach_", "diagonal", "empty", "empty_like", "empty_permuted", "empty_strided", "expand",
        "expand_as", "lift_fresh", "movedim", "narrow", "new_empty", "new_empty_strided", "permute", "record_stream", "reshape",
        "resize_", "resolve_conj", "resolve_neg", "select", "set_", "slice", "split", "split_with_sizes", "squeeze", "squeeze_",
        "swapaxes", "t", "t_", "transpose", "transpose_", "unbind", "unflatten", "unfold", "unsafe_chunk", "unsafe_split",
        "unsqueeze", "unsqueeze_", "view", "view_as", "view_as_complex", "view_as_real",
    }
)  # fmt: skip
"""Operators that describe, allocate or read memory. `fakerun.emulate.device` leaves most of them out of the record."""

_COMPUTING = frozenset({OperationKind.MATRIX_PRODUCT, OperationKind.ATTENTION, OperationKind.CONVOLUTION})

_COMMUNICATION = frozenset({"c10d", "_c10d_functional", "c10d_functional", "_dtensor", "symm_mem"})
"""Namespaces whose operators are communication: calls of their own."""

_COMPUTES_MUCH = (
    "_cdist",
    "_fft",
    "_int_mm",
    "_linalg",
    "_thnn",
    "_trilinear",
    "cholesky",
    "geqrf",
    "linalg",
    "lu_",
    "ormqr",
)
"""How the names begin of operators of ATen that compute much for each byte, and have no rule."""

_REDUCTIONS = frozenset({"linalg_vector_norm"})
"""Operators with such a name that only read what they reduce."""

_KNOWN_NAMESPACES = frozenset({"aten", "fsdp", "prims", fusion.NAMESPACE})
"""Namespaces of which operators without a rule only move bytes, but for those above. Others are the script's, a library's or Triton's."""

_RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
    **matrix_products.RULES,
    **attention.RULES,
    **convolutions.RULES,
    **indexing.RULES,
    **recurrent.RULES,
    **softmax.RULES,
}


class OperationCosts:
    """Costs of operations on one accelerator, in a step of which products and attention take `computing_share` of the time.

    The more, the lower the clock that the power limit leaves them; `in_step` takes the share from the operations of a step.

    Raises:
        UsageError: the accelerator's memory bandwidth is not known.
    """

    def __init__(self, accelerator: Accelerator, computing_share: float = COMPUTING_SHARE) -> None:
        self._rates = rates_of(accelerator, computing_share)
        self._known: dict[Operation, OperationCost | None] = {}

    @classmethod
    def in_step(cls, accelerator: Accelerator, step: Mapping[Operation, int]) -> Self:
        """Costs in a step that executes each operation so many times."""
        unslowed = cls(accelerator, 0.0)
        costs = [(cost, count) for operation, count in step.items() if (cost := unslowed.of(operation)) is not None]
        total = sum(cost.seconds * count for cost, count in costs)
        computing = sum(cost.seconds * count for cost, count in costs if cost.kind in _COMPUTING)
        return cls(accelerator, computing / total) if total else cls(accelerator)

    def of(self, operation: Operation) -> OperationCost | None:
        """The cost of an operation; None if it executes no kernel on the device, or is communication."""
        if operation not in self._known:
            self._known[operation] = _cost(DescribedOperation(operation), self._rates)
        return self._known[operation]


def _cost(operation: DescribedOperation, rates: Rates) -> OperationCost | None:
    if operation.operator in _WITHOUT_KERNEL or operation.namespace in _COMMUNICATION:
        return None
    if not (operation.inputs or operation.written):
        return None
    if is_host_copy(operation):
        return host_copy_cost(operation, rates)
    if not operation.elements:
        return None
    if operation.namespace == fusion.NAMESPACE:
        return fused_cost(operation, rates)
    rule = _RULES.get(operation.operator) or tensor_lists.rule_of(operation.operator)
    if rule is not None:
        return rule(operation, rates)
    computes_much = operation.operator.startswith(_COMPUTES_MUCH) and operation.operator not in _REDUCTIONS
    is_least = computes_much or operation.namespace not in _KNOWN_NAMESPACES
    return replace(moved_bytes_cost(operation, rates), is_least=is_least)
