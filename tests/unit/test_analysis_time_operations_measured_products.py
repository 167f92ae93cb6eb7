"""Products that were measured: taken as they are where they fit, else as a factor."""

from dataclasses import replace

import pytest

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations import OperationCosts
from fakerun.analysis.time.operations.measured_products import MeasuredProducts
from fakerun.hardware.calibration import MeasuredProduct
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.device_program import Operation

COSTS = OperationCosts(hardware_named("h100-80gb"))


def product(rows: int, columns: int, depth: int, dtype: str = "bfloat16", operator: str = "aten.mm.default") -> Operation:
    return Operation(operator, f"{dtype}[{rows},{depth}], {dtype}[{depth},{columns}]")


def cost(operation: Operation) -> OperationCost:
    found = COSTS.of(operation)
    assert found is not None
    return found


def measured(rows: int, columns: int, depth: int, times: float, dtype: str = "bfloat16") -> MeasuredProduct:
    """A product that took so many times what its cost says."""
    seconds = times * cost(product(rows, columns, depth, dtype)).seconds
    return MeasuredProduct(m=rows, n=columns, k=depth, dtype=dtype, seconds=seconds)


@pytest.mark.parametrize("sizes", [(8192, 4096, 1024), (4096, 8192, 1024)], ids=["as measured", "transposed"])
def test_the_same_product_has_the_time_that_was_measured(sizes: tuple[int, int, int]) -> None:
    point = measured(8192, 4096, 1024, times=1.5)
    found = MeasuredProducts(COSTS.of, [point]).of(product(*sizes))
    assert found == replace(cost(product(*sizes)), seconds=point.seconds, basis=Basis.CALIBRATED)


def test_what_a_product_is_added_to_is_none_of_its_factors() -> None:
    point = measured(8192, 4096, 1024, times=1.5)
    added = Operation(
        "aten.addmm.dtype_out",
        "float32[8192,4096], bfloat16[8192,1024], bfloat16[1024,4096], torch.float32, out=float32[8192,4096]",
    )
    found = MeasuredProducts(COSTS.of, [point]).of(added)
    assert found is not None
    assert (found.seconds, found.basis) == (point.seconds, Basis.CALIBRATED)


def test_another_product_is_corrected_by_the_nearest_one() -> None:
    costs = MeasuredProducts(COSTS.of, [measured(8192, 4096, 1024, times=1.5), measured(256, 256, 256, times=3.0)])
    for sizes, factor in (((8192, 4096, 2048), 1.5), ((300, 256, 256), 3.0)):
        plain, found = cost(product(*sizes)), costs.of(product(*sizes))
        assert found is not None
        assert found.seconds == pytest.approx(factor * plain.seconds)
        assert found.basis is plain.basis


@pytest.mark.parametrize(
    "operation",
    [
        product(8192, 4096, 1024, "float32"),
        Operation("aten.add.Tensor", "bfloat16[8192,4096], bfloat16[8192,4096]"),
        Operation("aten.view.default", "bfloat16[8192,4096]"),
    ],
)
def test_nothing_else_changes(operation: Operation) -> None:
    assert MeasuredProducts(COSTS.of, [measured(8192, 4096, 1024, times=2.0)]).of(operation) == COSTS.of(operation)


def test_float8_is_measured_by_itself() -> None:
    operation = product(8192, 4096, 1024, "float8_e4m3fn", "aten._scaled_mm.default")
    point = MeasuredProduct(m=8192, n=4096, k=1024, dtype="float8_e4m3fn", seconds=1.0)
    found = MeasuredProducts(COSTS.of, [point]).of(operation)
    assert found is not None
    assert (found.kind, found.seconds, found.basis) == (OperationKind.MATRIX_PRODUCT, 1.0, Basis.CALIBRATED)
