"""Embeddings, indexing, gathering, scattering, and what counts values."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from dev.gpu.kernel_calls.call import Call, b, call, f, g, i, t
from dev.gpu.kernel_calls.contexts import deterministic
from torch.nn import functional

HALF, BF16, F32 = torch.float16, torch.bfloat16, torch.float32


def _embedding(**options: Any) -> Callable[..., torch.Tensor]:
    return lambda weight, indices: functional.embedding(indices, weight, **options)


def _bag(**options: Any) -> Callable[..., torch.Tensor]:
    return lambda weight, indices: functional.embedding_bag(indices, weight, **options)


def embeddings() -> Iterator[Call]:
    for count in (128, 3072, 3073, 4096, 8192, 32768):
        for dtype in (BF16, F32):
            yield call("embedding", _embedding(), g(32000, 256, dtype=dtype), i(count, high=32000), backward=True)
    yield call("embedding", _embedding(), g(128256, 4096), i(2, 8192, high=128256), backward=True)
    yield call("embedding", _embedding(), g(50257, 768, dtype=F32), i(16, 1024, high=50257), backward=True)
    yield call("embedding", _embedding(), g(1000, 64), i(8, 1024, high=1000), backward=True)
    yield call("embedding", _embedding(), g(1000, 64), i(8, 1024, high=1000, dtype=torch.int32), backward=True)
    yield call("embedding", _embedding(), g(2, 768), i(16, 512, high=2), backward=True)
    yield call("embedding", _embedding(), g(32000, 77, dtype=HALF), i(5000, high=32000), backward=True)
    yield call("embedding padding", _embedding(padding_idx=0), g(32000, 256), i(8192, high=32000), backward=True)
    yield call("embedding padding", _embedding(padding_idx=0), g(32000, 256), i(2048, high=32000), backward=True)
    yield call("embedding frequency", _embedding(scale_grad_by_freq=True), g(32000, 256), i(8192, high=32000), backward=True)
    yield call("embedding frequency", _embedding(scale_grad_by_freq=True), g(32000, 256), i(1024, high=32000), backward=True)
    yield call("embedding sparse", _embedding(sparse=True), g(32000, 256), i(8192, high=32000), backward=True)
    yield call("embedding max_norm", _embedding(max_norm=1.0), t(32000, 256, dtype=F32), i(8192, high=32000))
    yield call("embedding deterministic", _embedding(), g(32000, 256), i(2048, high=32000), backward=True, context=deterministic)
    for mode in ("sum", "mean", "max"):
        yield call(f"embedding_bag {mode}", _bag(mode=mode), f(10000, 64, grad=True), i(256, 20, high=10000), backward=True)
    yield call("embedding_bag sparse", _bag(mode="sum", sparse=True), f(10000, 64, grad=True), i(256, 20, high=10000), backward=True)


def _index_put(x: torch.Tensor, indices: torch.Tensor, values: torch.Tensor, *, accumulate: bool) -> torch.Tensor:
    return x.index_put((indices,), values, accumulate=accumulate)


def indexing() -> Iterator[Call]:
    x, rows = g(4096, 1024), i(2048, high=4096)
    for accumulate in (True, False):
        yield call("index_put", _index_put, t(4096, 1024), rows, t(2048, 1024), accumulate=accumulate)
        yield call("index_put", _index_put, f(4096, 1024), i(100_000, high=4096), f(1024), accumulate=accumulate)
        yield call("index_put", _index_put, f(1_000_000), i(500_000, high=1_000_000), f(500_000), accumulate=accumulate)
        yield call("index_put", _index_put, f(100), i(50, high=100), f(50), accumulate=accumulate)
        yield call(
            "index_put two",
            lambda x, a, c, v, accumulate: x.index_put((a, c), v, accumulate=accumulate),
            f(512, 512, 64),
            i(5000, high=512),
            i(5000, high=512),
            f(5000, 64),
            accumulate=accumulate,
        )
        yield call(
            "index_put mask",
            lambda x, m, v, accumulate: x.index_put((m,), v, accumulate=accumulate),
            f(1000, 64),
            b(1000),
            f(64),
            accumulate=accumulate,
        )
    yield call("index_put deterministic", _index_put, t(4096, 1024), rows, t(2048, 1024), accumulate=False, context=deterministic)
    yield call("index", lambda x, n: x[n], x, rows, backward=True)
    yield call("index", lambda x, n: x[n], g(128, 64, dtype=F32), i(10, high=128), backward=True)
    yield call("index", lambda x, n: x[n], g(50000, 64, dtype=F32), i(100_000, high=50000), backward=True)
    yield call("index columns", lambda x, n: x[:, n], x, i(512, high=1024), backward=True)
    yield call("index two", lambda x, a, c: x[a, c], x, i(5000, high=4096), i(5000, high=1024), backward=True)
    yield call("index broadcast", lambda x, a, c: x[a, c], x, i(64, 1, high=4096), i(128, high=1024), backward=True)
    yield call("index mask", lambda x, m: x[m], x, b(4096), backward=True)
    yield call("index mask whole", lambda x, m: x[m], x, b(4096, 1024), backward=True)
    yield call("assign mask", lambda x, m: x.clone().__setitem__(m, 0.0), t(4096, 1024), b(4096, 1024))
    yield call("assign rows", lambda x, n: x.__setitem__(n, 1.0), t(4096, 1024), rows)
    yield call("index_select", torch.index_select, x, 0, rows, backward=True)
    yield call("index_select", torch.index_select, x, 1, i(512, high=1024), backward=True)
    yield call("index_add", torch.index_add, x, 0, rows, g(2048, 1024), backward=True)
    yield call("index_add", torch.index_add, x, 1, i(512, high=1024), g(4096, 512), backward=True)
    yield call("index_add deterministic", torch.index_add, x, 0, rows, g(2048, 1024), backward=True, context=deterministic)
    yield call("index_copy", torch.index_copy, x, 0, i(64, high=4096), g(64, 1024), backward=True)
    yield call("index_fill", torch.index_fill, x, 0, rows, 0.0, backward=True)
    yield call("index_reduce", lambda x, n, s: torch.index_reduce(x, 0, n, s, "mean"), f(512, 64), i(1000, high=512), f(1000, 64))
    yield call("gather", torch.gather, x, 1, i(4096, 16, high=1024), backward=True)
    yield call("gather", torch.gather, x, 0, i(100, 1024, high=4096), backward=True)
    yield call("gather deterministic", torch.gather, x, 1, i(4096, 16, high=1024), backward=True, context=deterministic)
    yield call("scatter", lambda x, n, s: x.scatter(1, n, s), x, i(4096, 16, high=1024), g(4096, 16), backward=True)
    yield call("scatter value", lambda x, n: x.scatter(1, n, 1.0), x, i(4096, 16, high=1024), backward=True)
    yield call("scatter_add", lambda x, n, s: x.scatter_add(1, n, s), x, i(4096, 16, high=1024), g(4096, 16), backward=True)
    yield call("scatter_add 1d", lambda x, n, s: x.scatter_add(0, n, s), f(1000), i(100_000, high=1000), f(100_000))
    yield call(
        "scatter_add 1d deterministic",
        lambda x, n, s: x.scatter_add(0, n, s),
        f(1000),
        i(100_000, high=1000),
        f(100_000),
        context=deterministic,
    )
    for how in ("sum", "mean", "amax"):
        yield call(
            f"scatter_reduce {how}",
            lambda x, n, s, how: x.scatter_reduce(0, n, s, how),
            f(1000, 64, grad=True),
            i(5000, 64, high=1000),
            f(5000, 64, grad=True),
            how,
            backward=True,
        )
    yield call("take", torch.take, x, i(5000, high=4096 * 1024), backward=True)
    yield call("take_along_dim", lambda x, n: torch.take_along_dim(x, n, 1), x, i(4096, 16, high=1024), backward=True)
    yield call("put_ accumulate", lambda x, n, s: x.put(n, s, accumulate=True), f(4096), i(1000, high=4096), f(1000))
    yield call("masked_select", torch.masked_select, x, b(4096, 1024), backward=True)
    yield call("masked_select", torch.masked_select, x, b(1024), backward=True)
    yield call("masked_fill", lambda x, m: x.masked_fill(m, 0.0), x, b(4096, 1024), backward=True)
    yield call("masked_fill", lambda x, m: x.masked_fill(m, 0.0), x, b(1024), backward=True)
    yield call("masked_scatter", torch.masked_scatter, x, b(4096, 1024), g(4096, 1024), backward=True)
    yield call("where", torch.where, b(4096, 1024), x, g(4096, 1024), backward=True)
    yield call("where", torch.where, b(4096, 1024), x, 0.0, backward=True)
    for count in (100, 10_000, 1_000_000, 50_000_000):
        yield call("nonzero", torch.nonzero, b(count))
    yield call("nonzero", torch.nonzero, b(1000, 1000))
    yield call("where mask", torch.where, b(1000, 1000))
    yield call("count_nonzero", torch.count_nonzero, f(1000, 1000))
    for count in (100, 10_000, 1_000_000):
        numbers = i(count, high=1000)
        yield call("unique", torch.unique, numbers)
        yield call("unique inverse", torch.unique, numbers, return_inverse=True, return_counts=True)
        yield call("unique_consecutive", torch.unique_consecutive, numbers)
        yield call("bincount", torch.bincount, numbers)
        yield call("bincount minlength", torch.bincount, numbers, minlength=5000)
        yield call("histc", torch.histc, f(count), bins=100)
        yield call("histc range", torch.histc, f(count), bins=64, min=-3, max=3)
    yield call("bincount weights", torch.bincount, i(10_000, high=64), f(10_000))
    yield call("unique dim", torch.unique, i(1000, 8, high=4), dim=0)
    yield call("isin", torch.isin, i(1000, high=500), i(100, high=500))
    yield call("searchsorted", torch.searchsorted, f(1000, view=lambda x: x.sort()[0], note="sorted"), f(5000))
    yield call("bucketize", torch.bucketize, f(5000), f(1000, view=lambda x: x.sort()[0], note="sorted"))
    yield call("one_hot", functional.one_hot, i(4096, high=100), 100)
    yield call("repeat_interleave", lambda x: x.repeat_interleave(4, 0), x, backward=True)
    yield call("repeat_interleave counts", lambda x, n: x.repeat_interleave(n, 0), x, i(4096, high=3), backward=True)
    yield call("histogram moe", lambda n: torch.histc(n.float(), bins=64, min=0, max=64), i(8192, 8, high=64))
    yield call("argsort moe", lambda n: torch.argsort(n.view(-1), stable=True), i(8192, 8, high=64))
    yield call("median index", lambda x: x[x.argmax(-1)], f(1000, 1000))
    yield call("trapezoid", torch.trapezoid, f(1000, 100))
    yield call("diag_embed", torch.diag_embed, f(16, 64, grad=True), backward=True)
