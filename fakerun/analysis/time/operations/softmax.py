"""Softmax and its logarithm, whose rows are read up to three times, and the loss that takes one number of each row."""

from collections.abc import Callable, Mapping

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation, distinct_bytes
from fakerun.analysis.time.operations.limits import limits_of
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates

_ROWS_IN_WORK = 3
"""Of a multiprocessor."""
_SHORT_ROW = 1024
_SHORT_PER_CYCLE = 2.1
"""Up to this length a row stays in registers; elements a cycle of a multiprocessor, then."""
_TAKING_S = 15e-6
"""One number of each of 8,192 rows: 14 us backward, 21 us forward, which adds them up in one block."""
_FITS = 0.6
"""The share of the second-level cache that rows in work take before they begin to be read from memory again; at twice that all are."""


def _softmax(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Rows are read once from memory, and twice again as far as those in work exceed the second-level cache."""
    logits = operation.inputs[0]
    nbytes, columns = distinct_bytes(logits), logits.sizes[-1] if logits.sizes else 1
    limits = limits_of(operation.operator)
    in_work = _ROWS_IN_WORK * rates.accelerator.multiprocessors * columns * logits.element_bytes
    cache = rates.accelerator.l2_cache_bytes or in_work
    missed = min(max((in_work / cache - _FITS) / _FITS, 0.0), 1.0)
    moved = sum(map(distinct_bytes, operation.written)) + round((1 + 2 * missed) * nbytes)
    per_cycle = _SHORT_PER_CYCLE if columns <= _SHORT_ROW else limits.elements_per_cycle or 1.0
    return OperationCost(
        kind=limits.kind,
        seconds=max(moved / rates.memory_bytes_per_s, logits.numel / (per_cycle * rates.cycles_per_s)) + LAUNCH_S,
        basis=Basis.ROOFLINE,
        moved_bytes=moved,
    )


def _negative_log_likelihood(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Reads a number of each row; its backward pass fills the gradient with zeros and writes one of each row."""
    moved = sum(map(distinct_bytes, operation.results)) + sum(distinct_bytes(each) for each in operation.inputs if each.dtype == "int64")
    kernels = 2 if operation.operator.endswith("backward") else 1
    seconds = moved / rates.memory_bytes_per_s + kernels * LAUNCH_S + _TAKING_S
    return OperationCost(kind=OperationKind.LOSS, seconds=seconds, basis=Basis.ROOFLINE, kernels=kernels, moved_bytes=moved)


RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
    **dict.fromkeys(("_log_softmax", "_softmax"), _softmax),
    **dict.fromkeys(("nll_loss_forward", "nll_loss_backward", "nll_loss2d_forward", "nll_loss2d_backward"), _negative_log_likelihood),
}
