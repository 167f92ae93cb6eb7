"""Matrix products: the time of `rows x depth` times `depth x columns`, from tables by shape, else from a share of the peak."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product as combinations

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.operations.described_operation import DescribedOperation, distinct_bytes
from fakerun.analysis.time.operations.rates import LAUNCH_S, Rates
from fakerun.device_memory.kernels.operands import TensorOperand, strides_of
from fakerun.hardware.kernel_tables import ProductGrid

ALIGNMENT_BYTES = 16
UNALIGNED_FLOPS_PER_CYCLE = 450.0
"""A multiprocessor's on Hopper, where a row of an operand or of the result does not begin at 16 bytes: 92 to 148 TFLOPS (odd sizes)."""
UNALIGNED_SHARE = 0.5
"""Of the rate of aligned products on other cards: an assumption; one published product of 2,145 columns on an A100 reaches 0.7."""
_HOPPER = (9, 0)
SCALING_S = 2e-6
"""What products of 8-bit numbers take beside: 2 us of 1,024 x 1,024 x 1,024 and of 2,048 x 2,048 x 2,048, measured."""

FLOAT8_GAIN = 0.93
"""Of the ratio of the peaks, over a product of 16-bit numbers of the same shape: 24 products measured on the H100 and the H200."""

GROUPED_SHARE = 0.9
SMALL_GROUPED_SHARE = 0.7
"""Of the rate of one product of all rows: grouped products of 1,024 rows and more a group, and of fewer; five measured."""

_AFTER_GRAPH_S = 1e-6
"""What a kernel that is launched by itself takes longer than in a CUDA graph, in which the tables were measured: 1.0 us (H100), 0.7 us
(H200), by 1,000 small additions either way."""
_SMALL_GROUP_ROWS = 1024
_UNTABLED_TYPES = ("float32", "tf32", "float64", "complex64", "complex128")


@dataclass(frozen=True, slots=True)
class Product:
    """`batches` products of `rows x depth` times `depth x columns`. `aligned`: rows of all three begin at 16 bytes."""

    rows: int
    columns: int
    depth: int
    batches: int = 1
    aligned: bool = True

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.columns * self.depth * self.batches


def product_cost(
    product: Product, dtype: str, moved_bytes: int, rates: Rates, *, share: float = 1.0, extra_s: float = 0.0
) -> OperationCost:
    """The cost of a product; `share` of the rate that the tables have for it, and `extra_s` beside."""
    rate, basis = product_rate(product, dtype, rates)
    computing_s = product.flops / (rate * share * rates.clock_factor) + extra_s if rate else math.inf
    if basis is not Basis.ROOFLINE:
        computing_s += _AFTER_GRAPH_S
    moving_s = moved_bytes / rates.memory_bytes_per_s
    moves_longer = not math.isinf(computing_s) and computing_s < moving_s
    if math.isinf(computing_s):
        computing_s, basis = moving_s, Basis.ROOFLINE
    return OperationCost(
        kind=OperationKind.MATRIX_PRODUCT,
        seconds=max(computing_s, moving_s, LAUNCH_S),
        basis=Basis.ROOFLINE if moves_longer else basis,
        flops=product.flops,
        full_flops=product.flops,
        moved_bytes=moved_bytes,
        moves_longer=moves_longer,
    )


def product_rate(product: Product, dtype: str, rates: Rates) -> tuple[float, Basis]:
    """Operations a second, and what that is taken from. 0 if the accelerator has no units for the type."""
    if not product.aligned and dtype not in _UNTABLED_TYPES:
        rate, _ = product_rate(replace(product, aligned=True), dtype, rates)
        slow = UNALIGNED_FLOPS_PER_CYCLE * rates.cycles_per_s
        is_hopper = rates.accelerator.compute_capability == _HOPPER
        return (min(slow, rate) if is_hopper else rate * UNALIGNED_SHARE), Basis.ROOFLINE
    peak = rates.peak_flops(dtype)
    grid = next(iter(rates.tables.products), None) if rates.tables is not None else None
    if grid is None or dtype in _UNTABLED_TYPES:
        return peak * rates.product_share, Basis.ROOFLINE
    rate, basis = _from_grid(grid, product)
    scale = rates.table_factor
    if dtype.startswith("float8"):
        scale *= peak / rates.peak_flops("bfloat16") * FLOAT8_GAIN
        basis = Basis.EXTRAPOLATED
    elif not rates.tables_are_own or scale != 1.0:
        basis = Basis.EXTRAPOLATED
    return rate * scale, basis


@lru_cache(maxsize=4096)
def _from_grid(grid: ProductGrid, product: Product) -> tuple[float, Basis]:
    """The rate between the neighbours in a grid, linear in the logarithms of sizes and rates; of either orientation the one inside it.

    A product and its transpose are the same kernel to a library. Beyond the grid the rate is that at its edge.
    """
    rows = product.rows * product.batches if product.batches > 1 else product.rows
    inside = [(m, n) for m, n in ((rows, product.columns), (product.columns, rows)) if m <= grid.rows[-1] and n <= grid.columns[-1]]
    m, n = inside[0] if inside else (min(rows, product.columns), max(rows, product.columns))
    corners = tuple(_neighbours(axis, size) for axis, size in ((grid.rows, m), (grid.columns, n), (grid.depths, product.depth)))
    total = weights = 0.0
    for (i, wi), (j, wj), (k, wk) in combinations(*corners):
        rate = grid.tenths_of_tflops[(i * len(grid.columns) + j) * len(grid.depths) + k]
        weight = wi * wj * wk
        if rate and weight:
            total += weight * math.log(rate)
            weights += weight
    exact = all(len(corner) == 1 for corner in corners) and inside
    beyond = not inside or not all(
        axis[0] <= size <= axis[-1] for axis, size in ((grid.rows, m), (grid.columns, n), (grid.depths, product.depth))
    )
    basis = Basis.EXTRAPOLATED if beyond else Basis.MEASURED if exact else Basis.INTERPOLATED
    return (math.exp(total / weights) * 1e11 if weights else 0.0), basis


def _neighbours(axis: Sequence[int], size: int) -> tuple[tuple[int, float], ...]:
    """The positions around a size, with weights that are linear in its logarithm; the end of the axis for what lies beyond it."""
    if size <= axis[0]:
        return ((0, 1.0),)
    if size >= axis[-1]:
        return ((len(axis) - 1, 1.0),)
    above = bisect_right(axis, size)
    low, high = axis[above - 1], axis[above]
    weight = math.log(size / low) / math.log(high / low)
    return ((above - 1, 1.0),) if weight == 0 else ((above - 1, 1 - weight), (above, weight))


# -- operators -----------------------------------------------------------------------------------------------------------------------------


def _aligned(*matrices: TensorOperand) -> bool:
    """Whether every row (or column, of a transposed matrix) begins at 16 bytes."""
    for matrix in matrices:
        strides = strides_of(matrix)[-2:]
        if len(strides) == 2 and max(strides) * matrix.element_bytes % ALIGNMENT_BYTES and 1 not in matrix.sizes[-2:]:
            return False
    return True


def _product(left: TensorOperand, right: TensorOperand) -> Product:
    rows, depth = left.sizes[-2:]
    columns = right.sizes[-1]
    batches = math.prod(left.sizes[:-2])
    result = TensorOperand(left.dtype, (rows, columns))
    return Product(rows, columns, depth, batches, _aligned(left, right, result))


def product_of(operation: DescribedOperation) -> tuple[Product, str] | None:
    """The product that an operation computes and the type of its operands; None if it computes none, or one of groups."""
    rule = RULES.get(operation.operator)
    factors = _factors(operation) if rule is _plain else operation.operands.tensors[:2] if rule is _scaled else ()
    if len(factors) < 2:
        return None
    left, right = factors
    return _product(left, right), left.dtype


def _factors(operation: DescribedOperation) -> tuple[TensorOperand, ...]:
    """The matrices that mm, bmm, addmm, baddbmm and the like multiply: the last two of the arguments, of which `out` is none."""
    matrices = tuple(each for each in operation.operands.tensors if len(each.sizes) >= 2)
    return matrices[-2:] if len(matrices) >= 2 else ()


def _plain(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """One product, or a batch of them.

    What is added (and a result of another type: `out_dtype`) is moved beside the factors.
    """
    factors = _factors(operation)
    if not factors:
        return _with_vector(operation, rates)
    left, right = factors
    product = _product(left, right)
    moved = _moved_bytes(left, right, product)
    if operation.has_results or operation.is_in_place:
        moved = max(moved, operation.moved_bytes)
    dtype = "tf32" if left.dtype == "float32" and operation.operands.named.get("tf32") else left.dtype
    return product_cost(product, dtype, moved, rates)


def _with_vector(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """A matrix and a vector, or two vectors."""
    elements = max(each.numel for each in operation.inputs)
    return OperationCost(
        kind=OperationKind.MATRIX_PRODUCT,
        seconds=LAUNCH_S + operation.moved_bytes / rates.memory_bytes_per_s,
        basis=Basis.ROOFLINE,
        flops=2 * elements,
        full_flops=2 * elements,
        moved_bytes=operation.moved_bytes,
    )


def _moved_bytes(left: TensorOperand, right: TensorOperand, product: Product) -> int:
    written = product.rows * product.columns * product.batches * left.element_bytes
    return distinct_bytes(left) + distinct_bytes(right) + written


def _scaled(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """fp8 products: both matrices come first, then the scales. The result is of 16-bit numbers."""
    left, right = operation.operands.tensors[:2]
    product = _product(left, right)
    moved = distinct_bytes(left) + distinct_bytes(right) + 2 * product.rows * product.columns
    return product_cost(replace(product, aligned=True), left.dtype, moved, rates, extra_s=SCALING_S)


def _grouped(operation: DescribedOperation, rates: Rates) -> OperationCost:
    """Products of groups of rows with a matrix for each, or of a matrix for each with groups of columns (MoE experts).

    `_grouped_mm(rows [total, depth], matrices [groups, depth, columns], ends)`; with both of two dimensions the depth is what is in groups.
    """
    left, right = operation.operands.tensors[:2]
    groups = next((each.sizes[0] for each in (right, left) if len(each.sizes) == 3), 0)
    if not groups:
        ends = operation.operands.tensors[2:3]
        groups = ends[0].numel if ends else 1
        product = Product(left.sizes[0], right.sizes[1], left.sizes[1])
        rows_of_group = left.sizes[1] // max(groups, 1)
        written = left.sizes[0] * right.sizes[1] * groups * left.element_bytes
    elif len(left.sizes) == 3 and len(right.sizes) == 3:
        return _plain(operation, rates)
    else:
        rows = left.sizes[0] if len(left.sizes) == 2 else left.sizes[1]
        product = Product(rows, right.sizes[-1], left.sizes[-1])
        rows_of_group = (rows if len(left.sizes) == 2 else right.sizes[-1]) // groups
        written = rows * right.sizes[-1] * left.element_bytes
    share = GROUPED_SHARE if rows_of_group >= _SMALL_GROUP_ROWS else SMALL_GROUPED_SHARE
    return product_cost(product, left.dtype, distinct_bytes(left) + distinct_bytes(right) + written, rates, share=share)


RULES: Mapping[str, Callable[[DescribedOperation, Rates], OperationCost]] = {
    **dict.fromkeys(
        (
            "mm",
            "addmm",
            "bmm",
            "baddbmm",
            "addbmm",
            "mv",
            "addmv",
            "dot",
            "vdot",
            "linear",
            "matmul",
            "_addmm_activation",
            "addmm_",
            "baddbmm_",
        ),
        _plain,
    ),
    "_scaled_mm": _scaled,
    "_grouped_mm": _grouped,
    "_scaled_grouped_mm": _grouped,
}
