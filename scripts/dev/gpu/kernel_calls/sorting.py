"""Sorts, selections and scans, around the sizes where the algorithm changes."""

from collections.abc import Iterator

import torch
from dev.gpu.kernel_calls.call import Call, b, call, f, g, i, t

F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16


def sorting() -> Iterator[Call]:
    for length in (32, 1024, 2048, 4096, 4097, 100_000, 1_000_000):
        for dtype in (F32, BF16):
            yield call("sort", torch.sort, t(length, dtype=dtype))
    for length in (2304, 2305, 5000):
        yield call("sort int", torch.sort, i(length, high=1000))
        yield call("argsort int", torch.argsort, i(length, high=1000, dtype=torch.int32), stable=True)
    for sizes in (
        (16, 5000),
        (127, 8192),
        (128, 8192),
        (500, 5000),
        (8, 128_000),
        (4, 1_000_000),
        (3, 1_100_000),
        (64, 4096),
        (1000, 1000),
    ):
        yield call("sort rows", torch.sort, f(*sizes))
        yield call("sort rows descending", torch.sort, t(*sizes), descending=True)
    yield call("sort columns", torch.sort, f(5000, 16), dim=0)
    yield call("sort columns", torch.sort, f(1000, 16), dim=0)
    yield call("sort columns", torch.sort, f(200_000, 3), dim=0)
    yield call("sort transposed", torch.sort, f(5000, 16, view=lambda x: x.t(), note="t"), dim=-1)
    yield call("sort backward", lambda x: torch.sort(x)[0], f(64, 5000, grad=True), backward=True)
    yield call("sort int8", torch.sort, t(100_000, dtype=torch.int8))
    yield call("sort bool", torch.sort, b(100_000))
    yield call("sort float64", torch.sort, t(100_000, dtype=F64))
    yield call("sort stable", torch.sort, f(100_000), stable=True)
    yield call("argsort", torch.argsort, f(100_000))
    yield call("msort", torch.msort, f(10_000, 8))
    for sizes in (
        (1, 50_000),
        (1, 100_000),
        (1, 128_256),
        (10, 100_000),
        (11, 100_000),
        (64, 32_000),
        (8192, 64),
        (8192, 256),
        (1, 1_000_000),
    ):
        yield call("topk", torch.topk, f(*sizes), 8)
        yield call("topk", torch.topk, t(*sizes), 50)
    yield call("topk", torch.topk, f(5000, 100), 8, dim=0)
    yield call("topk unsorted", torch.topk, f(64, 32_000), 2000, sorted=False)
    yield call("topk large", torch.topk, f(64, 32_000), 2000)
    yield call("topk large", torch.topk, f(4, 32_000), 5000)
    yield call("topk backward", lambda x: torch.topk(x, 2)[0], f(8192, 64, grad=True), backward=True)
    yield call("kthvalue", torch.kthvalue, f(64, 1000), 10)
    yield call("kthvalue", torch.kthvalue, f(100_000), 10)
    yield call("median", torch.median, f(100_001))
    yield call("median dim", torch.median, f(64, 1000), -1)
    yield call("median dim", torch.median, f(64, 1000), 0)
    yield call("nanmedian", torch.nanmedian, f(10_000))
    yield call("quantile", torch.quantile, f(10_000), 0.5)
    yield call("mode", torch.mode, f(16, 500))
    yield call("mode", torch.mode, f(4, 5000))
    for length in (100, 2048, 100_000, 10_000_000):
        yield call("cumsum", torch.cumsum, f(length, grad=True), 0, backward=True)
        yield call("cumsum int", torch.cumsum, i(length, high=10), 0)
        yield call("cumsum int32", torch.cumsum, i(length, high=10, dtype=torch.int32), 0)
        yield call("cumsum bf16", torch.cumsum, t(length), 0)
        yield call("cumsum bool", torch.cumsum, b(length), 0)
        yield call("cumprod", torch.cumprod, f(length), 0)
        yield call("logcumsumexp", torch.logcumsumexp, f(length, grad=True), 0, backward=True)
        yield call("cummax", torch.cummax, f(length), 0)
    for dim in (0, 1):
        yield call("cumsum", torch.cumsum, g(512, 2048), dim, backward=True)
        yield call("cumprod", torch.cumprod, f(512, 2048, grad=True), dim, backward=True)
        yield call("logcumsumexp", torch.logcumsumexp, f(512, 2048), dim)
        yield call("cummin", torch.cummin, f(512, 2048), dim)
    yield call("cumsum transposed", torch.cumsum, f(512, 2048, view=lambda x: x.t(), note="t"), 0)
    yield call("multinomial", torch.multinomial, f(16, 32_000, view=lambda x: x.abs(), note="abs"), 1)
    yield call("multinomial", torch.multinomial, f(32_000, view=lambda x: x.abs(), note="abs"), 100, replacement=True)
    yield call("multinomial", torch.multinomial, f(16, 1000, view=lambda x: x.abs(), note="abs"), 5)
    for count in (10, 1000, 100_000, 10_000_000):
        yield call("randperm", torch.randperm, count, device="cuda")
    yield call("rand", torch.rand, 1000, 1000, device="cuda")
    yield call("randn", torch.randn, 1000, 1000, device="cuda", dtype=BF16)
    yield call("randint", torch.randint, 100, (1000, 1000), device="cuda")
    yield call("normal_", lambda x: x.normal_(), t(1000, 1000))
    yield call("normal", lambda x: torch.normal(x, 1.0), f(1000, 1000))
    yield call("bernoulli", torch.bernoulli, f(1000, 1000, view=lambda x: x.sigmoid(), note="sigmoid"))
    yield call("exponential_", lambda x: x.exponential_(), f(1000, 1000))
    yield call("poisson", torch.poisson, f(1000, view=lambda x: x.abs(), note="abs"))
    yield call("trunc_normal_", lambda x: torch.nn.init.trunc_normal_(x), f(1000, 1000))
    yield call("orthogonal_", lambda x: torch.nn.init.orthogonal_(x), f(256, 128))
