"""Reductions over everything and over dimensions, from 1 KiB to 4 GiB, contiguous and not."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from dev.gpu.kernel_calls.call import Call, b, call, f, g, i, t

HALF, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64

OPERATIONS: dict[str, Callable[..., Any]] = {
    "sum": torch.sum,
    "mean": torch.mean,
    "var": torch.var,
    "std_mean": torch.std_mean,
    "vector_norm": torch.linalg.vector_norm,
    "amax": torch.amax,
    "logsumexp": torch.logsumexp,
}
_SIZES = (256, 4096, 65_536, 1_000_003, 2**24, 2**27)
_SHAPES = (
    (8192, 4096),
    (32_768, 768),
    (16, 100_000),
    (100_000, 16),
    (100_003, 7),
    (64, 64),
    (3, 1_000_000),
    (1_000_000, 3),
    (131_072, 128),
    (12_345, 1001),
)


def reductions() -> Iterator[Call]:
    yield from _by_shape()
    yield from _by_dtype()
    yield from _large()
    yield from _by_layout()
    yield from _of_other_operations()
    yield from _composed()
    yield from _softmax()


def _by_shape() -> Iterator[Call]:
    for name, operation in OPERATIONS.items():
        for size in _SIZES:
            if name != "logsumexp":
                yield call(name, operation, f(size))
        for shape in _SHAPES:
            for dim in (0, 1):
                yield call(name, operation, f(*shape), dim=dim)


def _by_dtype() -> Iterator[Call]:
    for dtype in (BF16, HALF, F64):
        for shape in ((8192, 4096), (32_768, 768), (100_003, 7)):
            for dim in (0, 1):
                yield call("sum", torch.sum, t(*shape, dtype=dtype), dim=dim)
                yield call("mean", torch.mean, t(*shape, dtype=dtype), dim=dim)
        yield call("sum", torch.sum, t(2**24, dtype=dtype))
        yield call("var", torch.var, t(2**24, dtype=dtype))
        yield call("vector_norm", torch.linalg.vector_norm, t(2**24, dtype=dtype))
        yield call("var", torch.var, t(8192, 4096, dtype=dtype), dim=0)
    yield call("sum float32 of bf16", torch.sum, t(8192, 4096), dim=0, dtype=F32)
    yield call("vector_norm float32 of bf16", torch.linalg.vector_norm, t(2**24), dtype=F32)
    for order in (1, float("inf"), 0, 3):
        yield call(f"vector_norm {order}", torch.linalg.vector_norm, f(2**24), ord=order)


def _large() -> Iterator[Call]:
    for size, dtype in ((2**29 - 1, F32), (2**29, F32), (2**30, F32), (2**30, BF16), (2**31, BF16), (2**31 + 2**20, BF16)):
        for name in ("sum", "mean", "vector_norm", "amax", "var"):
            yield call(name, OPERATIONS[name], t(size, dtype=dtype))
    for shape in ((2**20, 1024), (1024, 2**20), (8192, 131_072)):
        for dim in (0, 1):
            yield call("sum", torch.sum, f(*shape), dim=dim)
            yield call("max", torch.max, t(*shape), dim=dim)


def _by_layout() -> Iterator[Call]:
    transposed: dict[str, Any] = {"view": lambda x: x.t(), "note": "t"}
    strided: dict[str, Any] = {"view": lambda x: x[:, ::2], "note": "[:,::2]"}
    for name in ("sum", "var", "amax", "vector_norm"):
        for dim in (0, 1):
            yield call(name, OPERATIONS[name], f(4096, 8192, **transposed), dim=dim)
            yield call(name, OPERATIONS[name], f(4096, 8192, **strided), dim=dim)
        yield call(name, OPERATIONS[name], f(4096, 8192, **transposed))
        yield call(name, OPERATIONS[name], f(4096, 8192, **strided))
    for dims in ((0, 2), (1, 2), (0, 1), (0, 1, 2), (0, 2, 3)):
        shape = (16, 256, 56, 56) if 3 in dims else (64, 512, 768)
        yield call("sum", torch.sum, f(*shape), dim=dims)
        yield call("mean", torch.mean, t(*shape), dim=dims)
        yield call("amax", torch.amax, f(*shape), dim=dims)
        yield call("var", torch.var, f(*shape), dim=dims)


def _of_other_operations() -> Iterator[Call]:
    for shape in ((2**24,), (1000,)):
        for operation in (torch.max, torch.min, torch.argmax, torch.prod, torch.all, torch.any, torch.nansum, torch.aminmax):
            yield call(operation.__name__, operation, f(*shape))
    for operation in (torch.max, torch.argmax, torch.min, torch.prod, torch.all, torch.any, torch.nansum, torch.argmin):
        for dim in (0, 1):
            yield call(operation.__name__, operation, f(32_768, 768), dim=dim)
            yield call(operation.__name__, operation, t(32_000, 128), dim=dim)
    yield call("sum int", torch.sum, i(2**22, high=10))
    yield call("sum int32", torch.sum, i(2**22, high=10, dtype=torch.int32))
    yield call("sum bool", torch.sum, b(2**22))
    yield call("sum bool", torch.sum, b(8192, 4096), dim=0)
    yield call("any bool", torch.any, b(2**22))


def _composed() -> Iterator[Call]:
    yield call("isnan any", lambda x: torch.isnan(x).any(), t(2**22))
    yield call("isfinite all", lambda x: torch.isfinite(x).all(), f(2**22))
    yield call("equal", torch.equal, f(2**22), f(2**22))
    yield call("allclose", torch.allclose, f(2**22), f(2**22))
    yield call("dist", torch.dist, f(2**22), f(2**22))
    yield call("cdist", torch.cdist, f(100, 64, grad=True), f(200, 64, grad=True), backward=True)
    yield call("cosine_similarity", torch.cosine_similarity, f(1024, 256, grad=True), f(1024, 256, grad=True), backward=True)
    yield call("normalize", torch.nn.functional.normalize, g(8192, 256), backward=True)
    for name in ("sum", "mean", "var", "vector_norm", "amax", "logsumexp"):
        options: dict[str, Any] = {"dim": 0} if name == "logsumexp" else {}
        yield call(name, OPERATIONS[name], f(1024, 1024, grad=True), **options, backward=True)
        yield call(name, OPERATIONS[name], g(1024, 1024), dim=0, backward=True)


def _softmax() -> Iterator[Call]:
    transposed: dict[str, Any] = {"view": lambda x: x.t(), "note": "t"}
    for operation in (torch.softmax, torch.log_softmax):
        for shape in ((8192, 1024), (8192, 32_000), (4, 128_256), (64, 100)):
            yield call(operation.__name__, operation, g(*shape), -1, backward=True)
        yield call(operation.__name__, operation, f(1024, 1024, grad=True), 0, backward=True)
        yield call(operation.__name__, operation, g(1024, 1000), -1, dtype=F32, backward=True)
        yield call(operation.__name__, operation, f(1024, 1024, grad=True, **transposed), -1, backward=True)
    yield call("expanded backward", lambda a, c: a + c, g(4096, 1024), g(1024), backward=True)
    yield call("expanded backward", lambda a, c: a * c, f(4096, 1024, grad=True), f(4096, 1, grad=True), backward=True)
    yield call("expanded backward", lambda a, c: a * c, g(8, 128, 1024), g(1, 128, 1), backward=True)
