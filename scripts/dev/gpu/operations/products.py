"""Matrix products, by M, N, K and layout.

Layouts are of row-major operands: `NT` is the forward pass of a linear layer (x[M,K] w[N,K]^T), `NN` its input gradient, `TN` its
weight gradient.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from dev.gpu.operations.bench import Bench, Call, Item
from torch import Tensor

Shape = tuple[int, int, int]

MAX_FLOPS = 2.5e13
"""About 35 ms on an H100; larger products are left out."""

LINEARS = {
    "gpt2": [(768, 768), (768, 2304), (768, 3072), (3072, 768)],
    "1b": [(2048, 2048), (2048, 512), (2048, 8192), (8192, 2048)],
    "8b": [(4096, 4096), (4096, 1024), (4096, 14336), (14336, 4096)],
    "70b": [(8192, 8192), (8192, 1024), (8192, 28672), (28672, 8192)],
    "405b": [(16384, 16384), (16384, 2048), (16384, 53248), (53248, 16384)],
    "gpt2-xl": [(1600, 4800), (1600, 6400), (6400, 1600)],
    "7b": [(4096, 12288), (4096, 11008), (11008, 4096)],
    "8b tp8": [(4096, 512), (4096, 128), (4096, 1792), (1792, 4096), (512, 4096)],
    "70b tp8": [(8192, 1024), (8192, 128), (8192, 3584), (3584, 8192), (1024, 8192)],
    "405b tp8": [(16384, 2048), (16384, 256), (16384, 6656), (6656, 16384), (2048, 16384)],
}
"""Features in and out of the linear layers of transformers, and of one rank's part with tensor parallelism over 8."""

VOCABULARIES = [(768, 50257), (768, 50304), (2048, 128256), (4096, 32000), (4096, 128256), (8192, 128256)]
SQUARES = [128, 256, 512, 1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384]
ODD = [(4095, 4096, 4096), (4096, 4095, 4096), (4096, 4096, 4095), (4097, 4097, 4097), (8191, 4096, 1000), (1000, 1000, 1000)]
ODD += [(8192, 50257, 768), (8192, 768, 50257), (50257, 768, 8192), (8192, 4104, 4096), (8192, 4096, 4104), (999, 2047, 513)]
DEEP = [(m, n, k) for m, n in ((1024, 1024), (4096, 4096), (16384, 4096)) for k in (64, 128, 256, 512, 1024, 2048, 8192, 32768)]
SMALL_M = [(m, n, k) for n, k in ((4096, 4096), (14336, 4096), (4096, 14336)) for m in (1, 16, 64, 128, 256, 512)]
BATCHED = [
    (96, 1024, 1024, 64),
    (96, 1024, 64, 1024),
    (32, 2048, 2048, 128),
    (32, 2048, 128, 2048),
    (8, 4096, 4096, 128),
    (512, 128, 128, 64),
]
GROUPED = [(8, 8192, 4096, 1024), (8, 16384, 14336, 4096), (64, 16384, 2048, 1408), (64, 16384, 1408, 2048), (16, 16384, 8192, 5120)]
LONG = [(8192, 8192, 8192), (8192, 14336, 4096), (8192, 4096, 14336), (4096, 4096, 4096), (8192, 768, 3072), (16384, 16384, 16384)]


def _shapes() -> Iterator[tuple[Shape, str]]:
    """The bf16 grid, most important first: each shape with its layout."""
    for model in ("8b", "70b", "1b", "gpt2", "8b tp8", "70b tp8", "405b"):
        for k, n in LINEARS[model]:
            yield (8192, n, k), "NT"
            yield (8192, k, n), "NN"
            yield (n, k, 8192), "TN"
    for k, n in VOCABULARIES:
        yield (8192, n, k), "NT"
        yield (8192, k, n), "NN"
        yield (n, k, 8192), "TN"
    yield from (((n, n, n), "NT") for n in SQUARES)
    yield from ((shape, "NT") for shape in ODD + DEEP)
    for tokens in (2048, 1024, 4096, 16384, 32768, 65536):
        for model in ("8b", "gpt2", "1b", "70b", "8b tp8", "70b tp8"):
            yield from (((tokens, n, k), "NT") for k, n in LINEARS[model])
    for tokens in (2048, 32768):
        for k, n in LINEARS["8b"] + LINEARS["gpt2"]:
            yield (tokens, k, n), "NN"
            yield (n, k, tokens), "TN"
    for model in ("7b", "gpt2-xl", "405b tp8"):
        yield from (((8192, n, k), "NT") for k, n in LINEARS[model])
    for tokens in (2048, 4096):
        yield from (((tokens, n, k), "NT") for k, n in LINEARS["405b"] + LINEARS["405b tp8"] + VOCABULARIES)
    yield from ((shape, "NT") for shape in SMALL_M)
    yield from (((n, n, n), layout) for n in (1024, 2048, 4096, 8192) for layout in ("NN", "TN", "TT"))


def items() -> Iterator[Item]:
    seen: set[tuple[Shape, str]] = set()
    for shape, layout in _shapes():
        if (shape, layout) not in seen and flops(shape) <= MAX_FLOPS:
            seen.add((shape, layout))
            yield _product(shape, layout, "bf16")
    yield from (_product(shape, "NT", dtype) for dtype in ("fp16", "tf32", "fp32") for shape in _few(dtype))
    for recipe in ("tensorwise", "rowwise"):
        yield from (
            Item(kind="scaled_mm", name=recipe, fields=_fields(s, "NT", "fp8_e4m3"), measure=partial(_scaled, shape=s, recipe=recipe))
            for s in _few("fp8")
        )
    yield from (
        Item(kind="bmm", name="bmm", fields={"shape": s, "layout": "NN", "dtype": "bf16"}, measure=partial(_batched, shape=s))
        for s in BATCHED
    )
    yield from (
        Item(kind="addmm", name="linear with bias", fields=_fields(s, "NT", "bf16"), measure=partial(_linear, shape=s))
        for s in ((8192, 2304, 768), (8192, 3072, 768), (8192, 768, 3072), (8192, 4096, 4096), (8192, 14336, 4096))
    )
    yield from (
        Item(kind="grouped_mm", name="equal groups", fields={"shape": s, "dtype": "bf16"}, measure=partial(_grouped, shape=s))
        for s in GROUPED
    )


def sustained_items() -> Iterator[Item]:
    """Products back to back until the card is at its power limit."""
    for shape in LONG:
        yield Item(
            kind="sustained_mm", name="mm", fields=_fields(shape, "NT", "bf16"), measure=partial(_sustained, shape=shape, dtype="bf16")
        )
    for dtype in ("fp16", "tf32"):
        fields = _fields(LONG[0], "NT", dtype)
        yield Item(kind="sustained_mm", name="mm", fields=fields, measure=partial(_sustained, shape=LONG[0], dtype=dtype))
    fields = _fields(LONG[0], "NT", "fp8_e4m3")
    yield Item(kind="sustained_mm", name="scaled_mm tensorwise", fields=fields, measure=_sustained_fp8)


def flops(shape: Shape) -> float:
    m, n, k = shape
    return 2.0 * m * n * k


def _few(dtype: str) -> Iterable[Shape]:
    squares: list[Shape] = [(n, n, n) for n in (1024, 2048, 4096, 8192)]
    linears = [(8192, n, k) for k, n in LINEARS["8b"] + LINEARS["gpt2"]]
    return [shape for shape in squares + linears if dtype != "fp32" or flops(shape) < 3e11]


def _fields(shape: Shape, layout: str, dtype: str) -> dict[str, Any]:
    return {"shape": shape, "layout": layout, "dtype": dtype}


def _product(shape: Shape, layout: str, dtype: str) -> Item:
    return Item(
        kind="mm", name="mm", fields=_fields(shape, layout, dtype), measure=partial(_measure, shape=shape, layout=layout, dtype=dtype)
    )


DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32, "fp32": torch.float32}


def _measure(bench: Bench, *, shape: Shape, layout: str, dtype: str) -> dict[str, Any]:
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    try:
        return bench.device_time(_calls(bench, shape, layout, DTYPES[dtype]))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def _sustained(bench: Bench, *, shape: Shape, dtype: str) -> dict[str, Any]:
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    try:
        return bench.sustained(_calls(bench, shape, "NT", DTYPES[dtype]), seconds=1.3)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def _calls(bench: Bench, shape: Shape, layout: str, dtype: torch.dtype) -> list[Call]:
    m, n, k = (bench.size(dimension) for dimension in shape)

    def make() -> Call:
        a = _operand(bench, m, k, layout[0] == "T", dtype)
        b = _operand(bench, k, n, layout[1] == "T", dtype)
        return partial(torch.mm, a, b)

    return bench.rotated((m * k + k * n) * dtype.itemsize, make)


def _operand(bench: Bench, rows: int, columns: int, transposed: bool, dtype: torch.dtype) -> Tensor:
    if transposed:
        return bench.random(columns, rows, dtype=dtype).t()
    return bench.random(rows, columns, dtype=dtype)


def _linear(bench: Bench, *, shape: Shape) -> dict[str, Any]:
    m, n, k = (bench.size(dimension) for dimension in shape)
    calls = bench.rotated(2 * (m * k + k * n), lambda: partial(F.linear, bench.random(m, k), bench.random(n, k), bench.random(n)))
    return bench.device_time(calls)


def _batched(bench: Bench, *, shape: tuple[int, int, int, int]) -> dict[str, Any]:
    batch, m, n, k = (bench.size(dimension) for dimension in shape)
    calls = bench.rotated(2 * batch * (m * k + k * n), lambda: partial(torch.bmm, bench.random(batch, m, k), bench.random(batch, k, n)))
    return bench.device_time(calls)


def _scaled(bench: Bench, *, shape: Shape, recipe: str) -> dict[str, Any]:
    return bench.device_time(_scaled_calls(bench, shape, recipe))


def _sustained_fp8(bench: Bench) -> dict[str, Any]:
    return bench.sustained(_scaled_calls(bench, LONG[0], "tensorwise"), seconds=1.3)


def _scaled_calls(bench: Bench, shape: Shape, recipe: str) -> list[Call]:
    m, n, k = (bench.size(dimension) for dimension in shape)
    rowwise = recipe == "rowwise"
    scaling = F.ScalingType.RowWise if rowwise else F.ScalingType.TensorWise

    def make() -> Call:
        a = bench.random(m, k).to(torch.float8_e4m3fn)
        b = bench.random(n, k).to(torch.float8_e4m3fn).t()
        scale_a = torch.rand(m, 1, device=bench.device) if rowwise else torch.rand((), device=bench.device)
        scale_b = torch.rand(1, n, device=bench.device) if rowwise else torch.rand((), device=bench.device)
        return partial(F.scaled_mm, a, b, scale_a, scaling, scale_b, scaling, output_dtype=torch.bfloat16, use_fast_accum=True)

    return bench.rotated(m * k + k * n, make)


def _grouped(bench: Bench, *, shape: tuple[int, int, int, int]) -> dict[str, Any]:
    """Tokens sorted by expert, in equal groups: x[tokens, k] with w[groups, k, n]. The shape is (groups, tokens, n, k)."""
    groups, tokens, n, k = (bench.size(dimension) for dimension in shape)
    offsets = torch.arange(1, groups + 1, device=bench.device, dtype=torch.int32) * (tokens // groups)

    def make() -> Call:
        return partial(F.grouped_mm, bench.random(tokens, k), bench.random(groups, n, k).transpose(1, 2), offs=offsets)

    return bench.device_time(bench.rotated(2 * (tokens * k + groups * n * k), make))
