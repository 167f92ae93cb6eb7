"""Times of matrix products and of attention as they were published and measured, one file an accelerator; README.md has the sources."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SUFFIX = ".json.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductGrid:
    """Rates of matrix products on a grid of rows, columns and depths, each ascending, with both operands contiguous along the depth.

    `tenths_of_tflops` has the rate of `rows[i]`, `columns[j]`, `depths[l]` at `(i * len(columns) + j) * len(depths) + l`; 0: not measured.
    """

    dtype: str
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    depths: tuple[int, ...]
    tenths_of_tflops: tuple[int, ...]
    source: str


@dataclass(frozen=True, slots=True)
class AttentionSetting:
    """What a curve is of: kernel (flash, cudnn, efficient), pass, elements of a head, whether causal."""

    kernel: str
    is_backward: bool
    head: int
    causal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCurve:
    """Times of a setting: operations over `tflops`, `fixed_us` microseconds, and `us_per_element` for each element of the queries.

    These are fitted to `points`: (heads of all sequences, length, TFLOPS). Operations are those that are executed: half of the square if
    causal, 2.5 times as many in a backward pass.
    """

    tflops: float
    fixed_us: float
    us_per_element: float
    points: tuple[tuple[int, int, float], ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTables:
    """All of an accelerator."""

    products: tuple[ProductGrid, ...]
    attention: Mapping[AttentionSetting, AttentionCurve]


def accelerators_with_tables() -> tuple[str, ...]:
    """Names in the catalogue of the accelerators that there are tables of."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in HERE.glob(f"*{SUFFIX}")))


@cache
def kernel_tables(accelerator: str) -> KernelTables:
    """The tables of an accelerator that has some."""
    document = json.loads(gzip.decompress((HERE / f"{accelerator}{SUFFIX}").read_bytes()))
    return KernelTables(
        products=tuple(map(_grid, document["products"])),
        attention=_attention(document["attention"]),
    )


def _grid(grid: Mapping[str, Any]) -> ProductGrid:
    return ProductGrid(
        dtype=grid["dtype"],
        rows=tuple(grid["rows"]),
        columns=tuple(grid["columns"]),
        depths=tuple(grid["depths"]),
        tenths_of_tflops=tuple(grid["tenths_of_tflops"]),
        source=grid["source"],
    )


def _attention(curves: Any) -> Mapping[AttentionSetting, AttentionCurve]:
    return {
        AttentionSetting(each["kernel"], each["is_backward"], each["head"], each["causal"]): AttentionCurve(
            tflops=each["tflops"],
            fixed_us=each["fixed_us"],
            us_per_element=each["us_per_element"],
            points=tuple(map(tuple, each["points"])),
            sources=tuple(each["sources"]),
        )
        for each in curves
    }
