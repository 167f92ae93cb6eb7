"""OperationCosts: the cost of an operation of a device program on one accelerator, each distinct operation once."""

from collections.abc import Callable, Mapping

from fakerun.analysis.time.costs import OperationCost
from fakerun.analysis.time.operations import attention, convolutions, indexing, matrix_products, softmax, tensor_lists
from fakerun.analysis.time.operations.described_operation import DescribedOperation
from fakerun.analysis.time.operations.host_copies import host_copy_cost, is_host_copy
from fakerun.analysis.time.operations.moved_bytes import moved_bytes_cost
from fakerun.analysis.time.operations.rates import Rates, rates_of
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

_COMMUNICATION = frozenset({"c10d", "_c10d_functional", "c10d_functional", "_dtensor", "symm_mem"})
"""Namespaces whose operators are communication: calls of their own."""

_RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
    **matrix_products.RULES,
    **attention.RULES,
    **convolutions.RULES,
    **indexing.RULES,
    **softmax.RULES,
}


class OperationCosts:
    """Costs of operations on one accelerator.

    Raises:
        UsageError: the accelerator's memory bandwidth is not known.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._rates = rates_of(accelerator)
        self._known: dict[Operation, OperationCost | None] = {}

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
    rule = _RULES.get(operation.operator) or tensor_lists.rule_of(operation.operator) or moved_bytes_cost
    return rule(operation, rates)
