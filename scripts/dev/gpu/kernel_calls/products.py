"""Matrix products, and the workspaces of cuBLAS and cuBLASLt by handle and stream."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from dev.gpu.kernel_calls.call import Call, call, f, g, t

HALF, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
FP8 = torch.float8_e4m3fn


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def _cublaslt() -> Iterator[None]:
    before = torch.backends.cuda.preferred_blas_library()
    torch.backends.cuda.preferred_blas_library("cublaslt")
    try:
        yield
    finally:
        torch.backends.cuda.preferred_blas_library(before)


_STREAMS: dict[str, torch.cuda.Stream] = {}


def _in_stream(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """The function in a stream that the process keeps."""

    def run(*args: Any) -> Any:
        stream = _STREAMS.setdefault(name, torch.cuda.Stream())
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            result = function(*args)
        torch.cuda.current_stream().wait_stream(stream)
        return result

    return run


def _in_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function in a new thread, which has a cuBLAS handle of its own."""

    def run(*args: Any) -> Any:
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(function(*args)))
        thread.start()
        thread.join()
        return results[0]

    return run


def _twice(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: (function(*args), function(*args))


def workspaces() -> Iterator[Call]:
    """The first products of a process: what each handle takes on each stream."""
    linear = torch.nn.functional.linear
    yield call("first mm of the process", torch.mm, f(256, 256), f(256, 256), backward=False)
    yield call("first mm with a gradient", torch.mm, f(256, 256, grad=True), f(256, 256, grad=True), backward=True)
    yield call("first linear with bias", linear, t(256, 256), t(256, 256), t(256))
    yield call("linear with bias backward", linear, g(256, 256), g(256, 256), g(256), backward=True)
    both: tuple[tuple[str, Callable[..., Any], tuple[Any, ...]], ...] = (
        ("mm", torch.mm, (t(256, 256), t(256, 256))),
        ("linear with bias", linear, (t(256, 256), t(256, 256), t(256))),
    )
    for name, function, arguments in both:
        yield call(f"{name} in side stream", _in_stream(function, name), *arguments)
        yield call(f"{name} in thread", _in_thread(function), *arguments)
        yield call(f"{name} in thread in side stream", _in_thread(_in_stream(function, name)), *arguments)
        yield call(f"{name} in two threads", _twice(_in_thread(function)), *arguments)
    yield call("mm in side stream", _in_stream(torch.mm, "gradients"), g(256, 256), g(256, 256), backward=True)
    others: tuple[tuple[str, Callable[..., Any], tuple[Any, ...]], ...] = (
        ("bmm", torch.bmm, (t(4, 256, 256), t(4, 256, 256))),
        ("mv", torch.mv, (t(256, 256), t(256))),
        ("dot", torch.dot, (t(256), t(256))),
        ("float64 mm", torch.mm, (t(256, 256, dtype=F64), t(256, 256, dtype=F64))),
        ("complex mm", torch.mm, (t(256, 256, dtype=torch.complex64), t(256, 256, dtype=torch.complex64))),
        ("_int_mm", torch._int_mm, (t(256, 256, dtype=torch.int8), t(256, 256, dtype=torch.int8))),  # noqa: SLF001
    )
    for name, function, arguments in (*both, *others):
        yield call(f"{name} with workspaces given back", function, *arguments, fresh=True)
    yield call("mm by cuBLASLt", torch.mm, t(256, 256), t(256, 256), fresh=True, context=_cublaslt)
    yield call("_scaled_mm with workspaces given back", _scaled_tensorwise, t(256, 256, dtype=FP8), t(256, 256, dtype=FP8), fresh=True)


def _scaled_tensorwise(a: torch.Tensor, b: torch.Tensor, **options: Any) -> torch.Tensor:
    one = torch.ones((), device=a.device)
    return torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=BF16, **options)  # noqa: SLF001


def _scaled_rowwise(a: torch.Tensor, b: torch.Tensor, **options: Any) -> torch.Tensor:
    rows, columns = torch.ones(a.shape[0], 1, device=a.device), torch.ones(1, b.shape[0], device=a.device)
    return torch._scaled_mm(a, b.t(), scale_a=rows, scale_b=columns, out_dtype=BF16, **options)  # noqa: SLF001


def _grouped(a: torch.Tensor, b: torch.Tensor, ends: list[int]) -> torch.Tensor:
    offsets = torch.tensor(ends, dtype=torch.int32, device=a.device)
    return torch._grouped_mm(a, b, offs=offsets)  # noqa: SLF001


def _grouped_without_offsets(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch._grouped_mm(a, b)  # noqa: SLF001


def _scaled_grouped(a: torch.Tensor, b: torch.Tensor, ends: list[int]) -> torch.Tensor:
    offsets = torch.tensor(ends, dtype=torch.int32, device=a.device)
    scale_a = torch.ones(a.shape[0], device=a.device)
    scale_b = torch.ones(b.shape[0], b.shape[1], device=a.device)
    columns_first = b.transpose(-2, -1)
    return torch._scaled_grouped_mm(a, columns_first, scale_a, scale_b, offs=offsets, out_dtype=BF16)  # noqa: SLF001


def products() -> Iterator[Call]:
    linear = torch.nn.functional.linear
    for dtype in (BF16, HALF, F32, F64):
        yield call("mm", torch.mm, g(1024, 512, dtype=dtype), g(512, 768, dtype=dtype), backward=True)
        yield call("mm", torch.mm, g(33, 17, dtype=dtype), g(17, 65, dtype=dtype), backward=True)
        yield call("mm", torch.mm, t(64, 64, dtype=dtype, view=lambda x: x[::2, ::2], note="[::2,::2]"), t(32, 32, dtype=dtype))
        yield call("bmm", torch.bmm, g(8, 128, 64, dtype=dtype), g(8, 64, 96, dtype=dtype), backward=True)
        yield call("linear", linear, g(4, 512, 1024, dtype=dtype), g(4096, 1024, dtype=dtype), g(4096, dtype=dtype), backward=True)
        yield call("linear", linear, g(4, 512, 1024, dtype=dtype), g(4096, 1024, dtype=dtype), backward=True)
        yield call("linear", linear, g(7, 13, dtype=dtype), g(11, 13, dtype=dtype), g(11, dtype=dtype), backward=True)
        yield call("addmm", torch.addmm, g(512, 256, dtype=dtype), g(512, 128, dtype=dtype), g(128, 256, dtype=dtype), backward=True)
        yield call("matmul", torch.matmul, g(4, 8, 128, 64, dtype=dtype), g(4, 8, 64, 128, dtype=dtype), backward=True)
        yield call("matmul", torch.matmul, g(4, 128, 64, dtype=dtype), g(64, dtype=dtype), backward=True)
        yield call("mv", torch.mv, g(1000, 500, dtype=dtype), g(500, dtype=dtype), backward=True)
        yield call("dot", torch.dot, g(100_000, dtype=dtype), g(100_000, dtype=dtype), backward=True)
        yield call("baddbmm", torch.baddbmm, t(8, 128, 96, dtype=dtype), t(8, 128, 64, dtype=dtype), t(8, 64, 96, dtype=dtype))
        yield call(
            "einsum",
            lambda a, b: torch.einsum("bqhd,bkhd->bhqk", a, b),
            g(2, 128, 8, 64, dtype=dtype),
            g(2, 128, 8, 64, dtype=dtype),
            backward=True,
        )
    yield call("mm tf32", torch.mm, f(1024, 512, grad=True), f(512, 768, grad=True), backward=True, context=_tf32)
    yield call("linear tf32", linear, f(2048, 1024, grad=True), f(4096, 1024, grad=True), f(4096, grad=True), backward=True, context=_tf32)
    yield call("mm by cuBLASLt", torch.mm, g(1024, 512), g(512, 768), backward=True, context=_cublaslt)
    yield call("linear", linear, g(8192, 4096), g(4096, 4096), backward=True)
    yield call("linear", linear, g(8192, 4096), g(14336, 4096), backward=True)
    yield call("linear", linear, g(2048, 4096), g(128256, 4096), backward=True)
    yield call("linear", linear, g(16384, 768), g(3072, 768), g(3072), backward=True)
    yield call("linear expanded gradient", lambda x, w: linear(x, w).sum(), g(512, 256), g(512, 256), backward=True)
    yield call("mm of transposes", lambda a, b: a.t() @ b.t(), g(512, 1024), g(768, 512), backward=True)
    yield call("bmm of expanded", lambda a, b: torch.bmm(a.expand(8, -1, -1), b), g(1, 128, 64), g(8, 64, 96), backward=True)
    yield call("bmm of permuted", lambda a, b: a.permute(1, 0, 2) @ b.permute(1, 2, 0), g(128, 8, 64), g(96, 8, 64), backward=True)
    yield call("bilinear", torch.nn.functional.bilinear, f(64, 32, grad=True), f(64, 16, grad=True), f(8, 32, 16, grad=True), backward=True)
    yield call("outer", torch.outer, g(1000), g(2000), backward=True)
    yield call("baddbmm", torch.baddbmm, t(1, 1, 96), t(8, 128, 64), t(8, 64, 96))
    yield call("addmv", torch.addmv, t(512), t(512, 256), t(256))
    yield call("_addmm_activation", torch._addmm_activation, t(512), t(256, 128), t(128, 512), use_gelu=True)  # noqa: SLF001
    yield call("mm out_dtype", lambda a, b: torch.mm(a, b, out_dtype=F32), t(512, 256), t(256, 512))
    for m, k, n in ((2048, 4096, 4096), (16, 16, 16), (8192, 4096, 14336), (100, 128, 64)):
        a, b = t(m, k, dtype=FP8), t(n, k, dtype=FP8)
        yield call("_scaled_mm tensorwise", _scaled_tensorwise, a, b)
        yield call("_scaled_mm tensorwise fast", _scaled_tensorwise, a, b, use_fast_accum=True)
        yield call("_scaled_mm rowwise", _scaled_rowwise, a, b)
        yield call("_scaled_mm rowwise fast", _scaled_rowwise, a, b, use_fast_accum=True)
    yield call("_scaled_mm tensorwise bias", _scaled_tensorwise, t(512, 256, dtype=FP8), t(512, 256, dtype=FP8), bias=t(512))
    yield call("_grouped_mm 2d 3d", _grouped, g(2048, 1024), g(4, 1024, 512), [512, 700, 1536, 2048], backward=True)
    yield call("_grouped_mm 2d 3d", _grouped, g(512, 128), g(16, 128, 256), [32 * n for n in range(1, 17)], backward=True)
    yield call("_grouped_mm 2d 2d", _grouped, t(256, 1024), t(1024, 512), [256, 512, 768, 1024])
    yield call("_grouped_mm 3d 3d", _grouped_without_offsets, g(4, 256, 128), g(4, 128, 512), backward=True)
    yield call("_scaled_grouped_mm", _scaled_grouped, t(1024, 512, dtype=FP8), t(4, 1024, 512, dtype=FP8), [256, 512, 768, 1024])
