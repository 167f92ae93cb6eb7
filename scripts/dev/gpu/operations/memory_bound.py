"""Operations whose time is that of the bytes they move, over sizes.

`bytes` beside a figure is the least that the operation must read and write; `size_bytes` is the size of its main operand.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from dev.gpu.operations.bench import Bench, Call, Item
from torch import Tensor

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
FINE = [64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 32 * MIB, 64 * MIB, 128 * MIB, 256 * MIB, GIB, 2 * GIB]
COARSE = [256 * KIB, 4 * MIB, 32 * MIB, 128 * MIB, GIB]
FEW = [4 * MIB, 64 * MIB, 512 * MIB]

BF16, FP32 = torch.bfloat16, torch.float32

Build = Callable[[Bench, int], Call]
"""From the number of elements of the main operand, a call on inputs of its own."""


def _unary(function: Callable[[Tensor], Any], dtype: torch.dtype = BF16) -> Build:
    return lambda bench, n: partial(function, bench.random(n, dtype=dtype))


def _binary(function: Callable[[Tensor, Tensor], Any], dtype: torch.dtype = BF16, other: torch.dtype | None = None) -> Build:
    return lambda bench, n: partial(function, bench.random(n, dtype=dtype), bench.random(n, dtype=other or dtype))


def _with_backward(function: Callable[..., Tensor], inputs: int, dtype: torch.dtype = BF16) -> Build:
    """The backward pass of a function of so many equal operands."""

    def build(bench: Bench, n: int) -> Call:
        operands = [bench.random(n, dtype=dtype).requires_grad_() for _ in range(inputs)]
        out = function(*operands)
        return partial(torch.autograd.grad, out, operands, bench.random(n, dtype=dtype), retain_graph=True)

    return build


def _swiglu(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate) * up


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ELEMENTWISE: dict[str, tuple[Build, torch.dtype, int, list[int]]] = {
    # name: calls, dtype of the main operand, bytes moved per element, sizes
    "clone bf16": (_unary(torch.clone), BF16, 4, FINE),
    "add bf16": (_binary(torch.add), BF16, 6, FINE),
    "cast fp32 to bf16": (_unary(lambda x: x.to(BF16), FP32), FP32, 6, FINE),
    "cast bf16 to fp32": (_unary(lambda x: x.to(FP32)), BF16, 6, COARSE),
    "clone fp32": (_unary(torch.clone, FP32), FP32, 8, COARSE),
    "add fp32": (_binary(torch.add, FP32), FP32, 12, COARSE),
    "add fp32 and bf16": (_binary(torch.add, FP32, BF16), FP32, 10, FEW),
    "add_ bf16": (_binary(lambda x, y: x.add_(y)), BF16, 6, COARSE),
    "add_ fp32": (_binary(lambda x, y: x.add_(y), FP32), FP32, 12, COARSE),
    "copy_ bf16 into fp32": (_binary(lambda x, y: x.copy_(y), FP32, BF16), FP32, 6, COARSE),
    "mul bf16": (_binary(torch.mul), BF16, 6, COARSE),
    "mul by number bf16": (_unary(lambda x: x * 2.0), BF16, 4, COARSE),
    "mul fp32": (_binary(torch.mul, FP32), FP32, 12, FEW),
    "fill_ bf16": (_unary(lambda x: x.fill_(1.0)), BF16, 2, COARSE),
    "zeros fp32": (_unary(torch.zeros_like, FP32), FP32, 4, COARSE),
    "gelu bf16": (_unary(F.gelu), BF16, 4, COARSE),
    "gelu tanh bf16": (_unary(_gelu_tanh), BF16, 4, COARSE),
    "gelu backward bf16": (_with_backward(F.gelu, 1), BF16, 6, COARSE),
    "silu bf16": (_unary(F.silu), BF16, 4, COARSE),
    "silu backward bf16": (_with_backward(F.silu, 1), BF16, 6, COARSE),
    "silu and mul bf16": (_binary(_swiglu), BF16, 10, COARSE),
    "silu and mul backward bf16": (_with_backward(_swiglu, 2), BF16, 18, COARSE),
    "relu bf16": (_unary(F.relu), BF16, 4, FEW),
    "exp fp32": (_unary(torch.exp, FP32), FP32, 8, FEW),
    "rsqrt fp32": (_unary(torch.rsqrt, FP32), FP32, 8, FEW),
    "pow 2 fp32": (_unary(lambda x: x.pow(2), FP32), FP32, 8, FEW),
    "tanh bf16": (_unary(torch.tanh), BF16, 4, FEW),
    "where bf16": (_binary(lambda x, y: torch.where(x > y, x, y)), BF16, 12, FEW),
    "dropout bf16": (_unary(lambda x: F.dropout(x, 0.1)), BF16, 5, COARSE),
    "dropout backward bf16": (_with_backward(lambda x: F.dropout(x, 0.1), 1), BF16, 5, COARSE),
    "randn fp32": (_unary(torch.randn_like, FP32), FP32, 4, FEW),
    "sum fp32": (_unary(torch.sum, FP32), FP32, 4, COARSE),
    "sum bf16": (_unary(torch.sum), BF16, 2, COARSE),
    "norm fp32": (_unary(torch.linalg.vector_norm, FP32), FP32, 4, COARSE),
    "norm bf16": (_unary(torch.linalg.vector_norm), BF16, 2, FEW),
    "isfinite fp32": (_unary(torch.isfinite, FP32), FP32, 5, FEW),
    "cat bf16": (_binary(lambda x, y: torch.cat((x, y))), BF16, 8, COARSE),
    "cumsum fp32": (_unary(lambda x: x.cumsum(0), FP32), FP32, 8, FEW),
    "sort fp32": (_unary(torch.sort, FP32), FP32, 16, FEW[:2]),
    "addcmul_ fp32": (_binary(lambda x, y: x.addcmul_(y, y, value=0.1), FP32), FP32, 12, FEW),
    "lerp_ fp32": (_binary(lambda x, y: x.lerp_(y, 0.1), FP32), FP32, 12, FEW),
}


def items() -> Iterator[Item]:
    """Most important first: the first eight elementwise operations, rows, then the rest."""
    names = list(ELEMENTWISE)
    for name in names[:8]:
        yield from _elementwise(name)
    yield from _row_items()
    for name in names[8:]:
        yield from _elementwise(name)
    yield from _layout_items()
    yield from _index_items()


def _elementwise(name: str) -> Iterator[Item]:
    build, dtype, bytes_per_element, sizes = ELEMENTWISE[name]
    for size_bytes in sizes:
        n = size_bytes // dtype.itemsize
        fields = {"size_bytes": size_bytes, "bytes": n * bytes_per_element}
        yield Item(kind="memory_bound", name=name, fields=fields, measure=partial(_flat, build=build, n=n, nbytes=n * bytes_per_element))


def _flat(bench: Bench, *, build: Build, n: int, nbytes: int) -> dict[str, Any]:
    count = bench.size(n)
    return bench.device_time(bench.rotated(nbytes, lambda: build(bench, count)), total_ms=12)


# -- operations on rows: norms, softmax, losses -----------------------------------------------------------------------------------------

ROWS = [(8192, 4096), (8192, 768), (8192, 8192), (2048, 4096), (65536, 1024), (1024, 16384)]
LOGITS = [(8192, 50257), (8192, 50304), (8192, 128256), (2048, 32000), (4096, 128256)]


def _composed_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """As models write it: in float32, cast back, then scaled."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).type_as(x) * weight


def _rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, 1e-5)


def _layer_norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.layer_norm(x, (x.shape[-1],), weight, weight, 1e-5)


def _softmax(x: Tensor, weight: Tensor) -> Tensor:
    return F.softmax(x, -1)


def _log_softmax(x: Tensor, weight: Tensor) -> Tensor:
    return F.log_softmax(x, -1)


def _softmax_fp32(x: Tensor, weight: Tensor) -> Tensor:
    return F.softmax(x, -1, dtype=FP32)


NORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "composed rms_norm": _composed_rms_norm,
    "softmax": _softmax,
    "softmax in fp32": _softmax_fp32,
}


def _row_items() -> Iterator[Item]:
    for name, function in NORMS.items():
        for shape in ROWS:
            for dtype in ("bf16", "fp32"):
                if dtype == "bf16" or name in ("rms_norm", "layer_norm"):
                    yield _row_item(name, shape, dtype, function, backward=False)
                    yield _row_item(name, shape, dtype, function, backward=True)
    for shape in LOGITS:
        for dtype in ("fp32", "bf16"):
            for backward in (False, True):
                yield _row_item("log_softmax", shape, dtype, _log_softmax, backward=backward)
                yield Item(
                    kind="rows",
                    name="cross_entropy",
                    fields={"shape": shape, "dtype": dtype, "pass": "backward" if backward else "forward"},
                    measure=partial(_cross_entropy, shape=shape, dtype=dtype, backward=backward),
                )
    for shape in ((8192, 4096), (8192, 128256)):
        for name, reduce in REDUCTIONS.items():
            yield Item(
                kind="rows", name=name, fields={"shape": shape, "dtype": "bf16"}, measure=partial(_reduction, shape=shape, reduce=reduce)
            )


REDUCTIONS: dict[str, Callable[[Tensor], Any]] = {
    "sum of rows": lambda x: x.sum(-1),
    "sum of columns": lambda x: x.sum(0),
    "mean of rows": lambda x: x.mean(-1),
    "max of rows": lambda x: x.amax(-1),
    "argmax of rows": lambda x: x.argmax(-1),
    "topk 8 of rows": lambda x: x.topk(8, -1),
}


def _row_item(name: str, shape: tuple[int, int], dtype: str, function: Callable[[Tensor, Tensor], Tensor], *, backward: bool) -> Item:
    fields = {"shape": shape, "dtype": dtype, "pass": "backward" if backward else "forward"}
    measure = partial(_rows, shape=shape, dtype=dtype, function=function, backward=backward)
    return Item(kind="rows", name=name, fields=fields, measure=measure)


def _dtype(name: str) -> torch.dtype:
    return BF16 if name == "bf16" else FP32


def _rows(bench: Bench, *, shape: tuple[int, int], dtype: str, function: Callable[..., Tensor], backward: bool) -> dict[str, Any]:
    rows, columns = (bench.size(dimension) for dimension in shape)
    kind = _dtype(dtype)

    def make() -> Call:
        x = bench.random(rows, columns, dtype=kind).requires_grad_(backward)
        weight = bench.random(columns, dtype=kind).requires_grad_(backward)
        if not backward:
            return partial(function, x, weight)
        out = function(x, weight)
        inputs = [x, weight] if "norm" in getattr(function, "__name__", "") else [x]
        return partial(torch.autograd.grad, out, inputs, torch.randn_like(out), retain_graph=True)

    return bench.device_time(bench.rotated(2 * rows * columns * kind.itemsize, make), total_ms=12)


def _cross_entropy(bench: Bench, *, shape: tuple[int, int], dtype: str, backward: bool) -> dict[str, Any]:
    rows, columns = (bench.size(dimension) for dimension in shape)
    target = torch.randint(columns, (rows,), device=bench.device)
    logits = bench.random(rows, columns, dtype=_dtype(dtype)).requires_grad_(backward)
    if not backward:
        return bench.device_time([partial(F.cross_entropy, logits, target)], total_ms=12)
    loss = F.cross_entropy(logits, target)
    return bench.device_time([partial(torch.autograd.grad, loss, logits, retain_graph=True)], total_ms=12)


def _reduction(bench: Bench, *, shape: tuple[int, int], reduce: Callable[[Tensor], Any]) -> dict[str, Any]:
    rows, columns = (bench.size(dimension) for dimension in shape)
    calls = bench.rotated(2 * rows * columns, lambda: partial(reduce, bench.random(rows, columns)))
    return bench.device_time(calls, total_ms=12)


# -- copies into another layout, and parts --------------------------------------------------------------------------------------------

LAYOUT_SHAPES = [(1, 8192, 32, 128), (8, 1024, 12, 64), (4, 4096, 64, 128)]
LAYOUTS: dict[str, Callable[[Tensor], Any]] = {
    "transpose heads, contiguous": lambda x: x.transpose(1, 2).contiguous(),
    "transpose last two, contiguous": lambda x: x.transpose(2, 3).contiguous(),
    "matrix transpose, contiguous": lambda x: x.flatten(0, 1).flatten(1, 2).t().contiguous(),
    "split last in two, clone first": lambda x: x.chunk(2, -1)[0].contiguous(),
    "repeat_interleave heads 4": lambda x: x.repeat_interleave(4, dim=2),
    "rotary with halves": lambda x: torch.cat((-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]), -1),
    "rotary complex": lambda x: torch.view_as_real(torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * 1j).flatten(-2).type_as(x),
    "cat of four": lambda x: torch.cat((x, x, x, x), -1),
    "stack of two": lambda x: torch.stack((x, x)),
    "roll": lambda x: x.roll(1, 1),
    "broadcast add": lambda x: x + x[:, :1],
    "tril of scores": lambda x: x.transpose(1, 2).tril(),
}


def _layout_items() -> Iterator[Item]:
    for name, function in LAYOUTS.items():
        for shape in LAYOUT_SHAPES:
            yield Item(
                kind="layout", name=name, fields={"shape": shape, "dtype": "bf16"}, measure=partial(_layout, shape=shape, function=function)
            )


def _layout(bench: Bench, *, shape: tuple[int, ...], function: Callable[[Tensor], Any]) -> dict[str, Any]:
    sizes = [bench.size(dimension) for dimension in shape]
    nbytes = 2 * torch.Size(sizes).numel()
    return bench.device_time(bench.rotated(nbytes, lambda: partial(function, bench.random(*sizes))), total_ms=12)


# -- by index ----------------------------------------------------------------------------------------------------------------------------

TABLES = [(50257, 768, 8192), (128256, 4096, 8192), (32000, 4096, 16384), (128256, 2048, 2048)]
"""Rows and columns of a table, and the number of indices."""


def _embedding(table: Tensor, index: Tensor, rows: Tensor) -> Any:
    return F.embedding(index, table)


def _index_select(table: Tensor, index: Tensor, rows: Tensor) -> Any:
    return table.index_select(0, index)


def _index(table: Tensor, index: Tensor, rows: Tensor) -> Any:
    return table[index]


def _index_add(table: Tensor, index: Tensor, rows: Tensor) -> Any:
    return table.index_add_(0, index, rows)


def _index_put(table: Tensor, index: Tensor, rows: Tensor) -> Any:
    table[index] = rows


def _gather(table: Tensor, index: Tensor, rows: Tensor) -> Any:
    return rows.gather(1, (index % rows.shape[1])[:, None])


INDEXED = {
    "embedding": _embedding,
    "index_select": _index_select,
    "index": _index,
    "index_add_": _index_add,
    "index_put_": _index_put,
    "gather one of each row": _gather,
}


def _index_items() -> Iterator[Item]:
    for table in TABLES:
        for dtype in ("bf16", "fp32"):
            fields = {"shape": table, "dtype": dtype}
            yield Item(
                kind="index", name="embedding backward", fields=fields, measure=partial(_embedding_backward, table=table, dtype=dtype)
            )
        for name, function in INDEXED.items():
            measure = partial(_indexed, table=table, function=function)
            yield Item(kind="index", name=name, fields={"shape": table, "dtype": "bf16"}, measure=measure)
    for shape in ((8192, 64), (16384, 256)):
        yield Item(kind="index", name="argsort of experts", fields={"shape": shape}, measure=partial(_argsort, shape=shape))


def _indexed(bench: Bench, *, table: tuple[int, int, int], function: Callable[[Tensor, Tensor, Tensor], Any]) -> dict[str, Any]:
    rows, columns, count = (bench.size(dimension) for dimension in table)
    values, indices = bench.random(rows, columns), [torch.randint(rows, (count,), device=bench.device) for _ in range(4)]
    return bench.device_time([partial(function, values, index, bench.random(count, columns)) for index in indices], total_ms=12)


def _embedding_backward(bench: Bench, *, table: tuple[int, int, int], dtype: str) -> dict[str, Any]:
    rows, columns, count = (bench.size(dimension) for dimension in table)
    weight = bench.random(rows, columns, dtype=_dtype(dtype)).requires_grad_()
    out = F.embedding(torch.randint(rows, (count,), device=bench.device), weight)
    return bench.device_time([partial(torch.autograd.grad, out, weight, torch.randn_like(out), retain_graph=True)], total_ms=12)


def _argsort(bench: Bench, *, shape: tuple[int, int]) -> dict[str, Any]:
    tokens, experts = (bench.size(dimension) for dimension in shape)
    chosen = torch.randint(experts, (tokens,), device=bench.device)
    return bench.device_time([partial(torch.argsort, chosen, stable=True), partial(torch.bincount, chosen, minlength=experts)], total_ms=12)
