"""Softmax and its logarithm: rows are read up to three times."""

from collections.abc import Callable, Mapping

from fakerun.analysis.time.costs import Basis, OperationCost
from fakerun.analysis.time.operations.described_operation import DescribedOperation, distinct_bytes
from fakerun.analysis.time.operations.limits import limits_of
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates

_ROWS_IN_WORK = 3
"""Of a multiprocessor."""
_SHORT_ROW = 1024
_SHORT_PER_CYCLE = 2.1
"""Up to this length a row stays in registers; elements a cycle of a multiprocessor, then."""
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


RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = dict.fromkeys(("_log_softmax", "_softmax"), _softmax)
