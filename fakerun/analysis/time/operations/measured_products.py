"""Matrix products that the user measured (`--calibrate`), put before tables: as they are where they fit, else as a correction."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation
from fakerun.analysis.time.operations.matrix_products import Product, product_of
from fakerun.hardware.calibration import MeasuredProduct
from fakerun.records.device_program import Operation

OperationCostOf = Callable[[Operation], OperationCost | None]


class MeasuredProducts:
    """Costs of operations by `costs`, those of matrix products corrected by what was measured."""

    def __init__(self, costs: OperationCostOf, measured: Sequence[MeasuredProduct]) -> None:
        self._costs = costs
        self._measured = measured
        self._factors: dict[MeasuredProduct, float] = {}
        self._known: dict[Operation, OperationCost | None] = {}

    def of(self, operation: Operation) -> OperationCost | None:
        """The cost of an operation. A product of the sizes and the type of a measured one, or its transpose, has the time of that one.

        Of any other product of a type that was measured, the cost is multiplied by the factor by which the measured product that is
        nearest to it, in the logarithms of its sizes, differs from its own cost.
        """
        if operation not in self._known:
            self._known[operation] = self._of(operation)
        return self._known[operation]

    def _of(self, operation: Operation) -> OperationCost | None:
        cost = self._costs(operation)
        if cost is None or cost.kind is not OperationKind.MATRIX_PRODUCT:
            return cost
        found = product_of(DescribedOperation(operation))
        if found is None:
            return cost
        product, dtype = found
        alike = [each for each in self._measured if each.dtype == dtype]
        if not alike:
            return cost
        nearest = min(alike, key=lambda each: _distance(product, each))
        if product.batches == 1 and not _distance(product, nearest):
            return replace(cost, seconds=nearest.seconds, basis=Basis.CALIBRATED)
        return replace(cost, seconds=cost.seconds * self._factor(nearest))

    def _factor(self, measured: MeasuredProduct) -> float:
        """How many times longer the product took than its cost says."""
        if measured not in self._factors:
            m, n, k, dtype = measured.m, measured.n, measured.k, measured.dtype
            operator = "aten._scaled_mm.default" if dtype.startswith("float8") else "aten.mm.default"
            cost = self._costs(Operation(operator, f"{dtype}[{m},{k}], {dtype}[{k},{n}]"))
            self._factors[measured] = measured.seconds / cost.seconds if cost is not None else 1.0
        return self._factors[measured]


def _distance(product: Product, measured: MeasuredProduct) -> float:
    """How unlike two products are, as the sum of the factors between their sizes; 0 for the same one in either orientation."""
    rows = product.rows * product.batches

    def apart(m: int, n: int) -> float:
        return abs(log(rows / m)) + abs(log(product.columns / n)) + abs(log(product.depth / measured.k))

    return min(apart(measured.m, measured.n), apart(measured.n, measured.m))
