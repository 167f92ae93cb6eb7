"""Linear algebra, FFT, copies, layouts, rotary embeddings, checkpoints."""

from collections.abc import Iterator
from typing import Any

import torch
from dev.gpu.kernel_calls.call import Call, b, call, f, g, i, module, t
from torch import nn
from torch.utils.checkpoint import checkpoint

HALF, BF16, F32, F64, C64 = torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64


def _definite(x: torch.Tensor) -> torch.Tensor:
    return x @ x.mT + x.shape[-1] * torch.eye(x.shape[-1], device=x.device, dtype=x.dtype)


def linear_algebra() -> Iterator[Call]:
    a = torch.linalg
    for order in (None, "fro", "nuc", 2, 1, float("inf")):
        yield call(f"linalg.norm {order}", a.norm, f(128, 64), order)
    yield call("linalg.norm", a.norm, f(1024, 1024, grad=True), backward=True)
    for sizes in ((64, 64), (512, 512), (8, 32, 32)):
        spd: dict[str, Any] = {"view": _definite, "note": "spd"}
        x = f(*sizes, grad=True, **spd)
        yield call("cholesky", a.cholesky, x, backward=True)
        yield call("inv", a.inv, x, backward=True)
        yield call("det", a.det, x, backward=True)
        yield call("slogdet", a.slogdet, x)
        yield call("solve", a.solve, x, f(*sizes[:-1], 16, grad=True), backward=True)
        yield call("eigh", a.eigh, f(*sizes, **spd))
        yield call("qr", a.qr, f(*sizes))
        yield call("svd", a.svd, f(*sizes))
        yield call("svdvals", a.svdvals, f(*sizes))
        yield call("lu_factor", a.lu_factor, f(*sizes))
        yield call("matrix_exp", a.matrix_exp, f(*sizes))
        yield call("triangular", lambda x, y: a.solve_triangular(x.tril(), y, upper=False), f(*sizes, **spd), f(*sizes[:-1], 16))
    yield call("lstsq", a.lstsq, f(256, 64), f(256, 4))
    yield call("pinv", a.pinv, f(128, 64))
    yield call("matrix_power", a.matrix_power, f(64, 64), 5)
    yield call("matrix_rank", a.matrix_rank, f(64, 64))
    yield call("eig", a.eig, f(32, 32))


def transforms() -> Iterator[Call]:
    for length in (1024, 1000, 1009, 65_536):
        yield call("fft", torch.fft.fft, t(64, length, dtype=C64))
        yield call("rfft", torch.fft.rfft, f(64, length, grad=True), backward=True)
        yield call("irfft", torch.fft.irfft, t(64, length, dtype=C64))
    yield call("fft2", torch.fft.fft2, t(8, 256, 256, dtype=C64))
    yield call("rfft2", torch.fft.rfft2, f(8, 256, 256))
    yield call("fft dim 0", torch.fft.fft, t(1024, 64, dtype=C64), dim=0)
    yield call("stft", lambda x, w: torch.stft(x, 400, 160, window=w, return_complex=True), f(4, 16_000), f(400))


def copies() -> Iterator[Call]:
    x, transposed = t(1024, 1024), t(1024, 1024, view=lambda x: x.t(), note="t")
    strided = t(1024, 1024, view=lambda x: x[:, ::2], note="[:,::2]")
    for tensor in (x, transposed, strided):
        yield call("cpu", lambda x: x.cpu(), tensor)
        yield call("cpu non_blocking", lambda x: x.to("cpu", non_blocking=True), tensor)
        yield call("to float32", lambda x: x.to(F32), tensor)
        yield call("cpu float32", lambda x: x.to("cpu", F32), tensor)
        yield call("contiguous", lambda x: x.contiguous(), tensor)
        yield call("clone", lambda x: x.clone(), tensor)
        yield call("reshape", lambda x: x.reshape(-1), tensor)
        yield call("tolist", lambda x: x[:2, :2].tolist(), tensor)
    host: tuple[dict[str, Any], ...] = ({"device": "cpu"}, {"device": "cpu", "pinned": True})
    for where in host:
        yield call("cuda", lambda x: x.cuda(), t(1024, 1024, **where))
        yield call("cuda non_blocking", lambda x: x.cuda(non_blocking=True), t(1024, 1024, **where))
        yield call("cuda float32", lambda x: x.to("cuda", F32), t(1024, 1024, **where))
        yield call("cuda strided", lambda x: x[:, ::2].cuda(), t(1024, 1024, **where))
        yield call("copy_ to strided", lambda x, y: x[:, ::2].copy_(y), x, t(1024, 512, **where))
        yield call("copy_ to float32", lambda x, y: x.copy_(y), f(1024, 1024), t(1024, 1024, **where))
        yield call("copy_ back", lambda x, y: y.copy_(x), x, t(1024, 1024, **where))
        yield call("copy_ back strided", lambda x, y: y[:, ::2].copy_(x), t(1024, 512), t(1024, 1024, **where))
        yield call("copy_ back of transposed", lambda x, y: y.copy_(x, non_blocking=True), transposed, t(1024, 1024, **where))
    yield call("item", lambda x: x.sum().item(), x)
    yield call("item of element", lambda x: x[3, 4].item(), x)
    yield call("tensor", lambda: torch.tensor([1.0, 2.0], device="cuda"))
    yield call("bool", lambda x: bool((x > 0).any()), x)
    for dtype in (F32, HALF, torch.int32, torch.float8_e4m3fn, F64):
        yield call("to", lambda x, dtype: x.to(dtype), g(1024, 1024), dtype, backward=dtype.is_floating_point and dtype.itemsize > 1)


def layouts() -> Iterator[Call]:
    x, y = g(1024, 1024), g(1024, 1024)
    yield call("cat", lambda *xs: torch.cat(xs), x, y, backward=True)
    yield call("cat last", lambda *xs: torch.cat(xs, -1), x, y, backward=True)
    yield call("cat many", lambda *xs: torch.cat(xs), *(g(16, 64) for _ in range(200)), backward=True)
    yield call("cat many last", lambda *xs: torch.cat(xs, 1), *(g(16, 64) for _ in range(200)), backward=True)
    yield call("cat mixed", lambda *xs: torch.cat(xs), x, f(1024, 1024, grad=True), backward=True)
    yield call("stack", lambda *xs: torch.stack(xs), x, y, backward=True)
    yield call("stack many", lambda *xs: torch.stack(xs), *(f(10, grad=True) for _ in range(200)), backward=True)
    yield call("stack scalars", lambda *xs: torch.stack(xs), *(f() for _ in range(300)))
    yield call("chunk", lambda x: torch.chunk(x, 4), x, backward=True)
    yield call("split", lambda x: torch.split(x, 300, -1), x, backward=True)
    yield call("split clone", lambda x: [part.contiguous() for part in x.split(256, -1)], x, backward=True)
    yield call("unbind", lambda x: x.unbind(0)[0], g(3, 512, 512), backward=True)
    yield call("flip", lambda x: x.flip(0), x, backward=True)
    yield call("roll", lambda x: x.roll(3, 1), x, backward=True)
    yield call("roll two", lambda x: x.roll((3, 5), (0, 1)), x, backward=True)
    yield call("tril", torch.tril, x, backward=True)
    yield call("triu", torch.triu, t(2048, 2048, dtype=F32), 1)
    yield call("expand contiguous", lambda x: x[:, None].expand(-1, 4, -1).reshape(4096, 1024), x, backward=True)
    yield call("select backward", lambda x: x[5], x, backward=True)
    yield call("slice backward", lambda x: x[:, 10:20], x, backward=True)
    yield call("as_strided backward", lambda x: x.as_strided((100, 100), (1024, 2)), x, backward=True)
    yield call("permute contiguous", lambda x: x.permute(2, 0, 1).contiguous(), g(64, 128, 256), backward=True)
    yield call("view dtype", lambda x: x.view(torch.uint8), t(64, 64))
    yield call("meshgrid", lambda x, y: torch.meshgrid(x, y, indexing="ij"), f(100), f(100))
    yield call("tensordot", lambda x, y: torch.tensordot(x, y, 1), x, y, backward=True)
    yield call("einsum", lambda x, y: torch.einsum("ij,kj->ik", x, y), x, y, backward=True)
    yield call("einsum three", lambda x, y, z: torch.einsum("ij,jk,kl->il", x, y, z), x, y, x, backward=True)
    yield call("kron", torch.kron, f(16, 16, grad=True), f(16, 16, grad=True), backward=True)
    yield call("arithmetic", lambda x, y: (x * y + x) / (y.abs() + 1), x, y, backward=True)
    yield call("addcmul", torch.addcmul, x, x, y, backward=True)
    yield call("lerp", torch.lerp, x, y, 0.3, backward=True)
    yield call("clamp", lambda x: x.clamp(-1, 1), x, backward=True)
    yield call("clamp_", lambda x: x.clamp_(-1, 1), t(1024, 1024))
    yield call("pow", lambda x: x**3, x, backward=True)
    yield call("mixed types", lambda x, y: x + y, x, f(1024, 1024, grad=True), backward=True)
    yield call("in place mixed", lambda x, y: x.add_(y), t(1024, 1024), f(1024, 1024))
    yield call("overlapping in place", lambda x: x[1:].add_(x[:-1]), t(1024, 1024))
    yield call("arange", torch.arange, 10_000, device="cuda")
    yield call("linspace", torch.linspace, 0, 1, 10_000, device="cuda")
    yield call("full", torch.full, (1000,), 3.0, device="cuda")
    yield call("eye", torch.eye, 1000, device="cuda")
    yield call("rotary complex", _rotary_complex, g(2, 1024, 16, 128), t(1024, 64, dtype=C64), backward=True)
    yield call("rotary halves", _rotary_halves, g(2, 16, 1024, 128), t(1024, 128), t(1024, 128), backward=True)
    yield call(
        "rotary float32",
        lambda x, c, s: _rotary_halves(x.float(), c, s).type_as(x),
        g(2, 16, 1024, 128),
        f(1024, 128),
        f(1024, 128),
        backward=True,
    )
    yield call("complex mul", torch.mul, t(1024, 1024, dtype=C64, grad=True), t(1024, 1024, dtype=C64, grad=True), backward=True)
    yield call("polar", lambda n: torch.polar(torch.ones_like(n), n), f(1024, 64))
    yield call("masked mean", lambda x, m: (x * m).sum() / m.sum(), x, b(1024, 1024), backward=True)
    yield call("tril mask", lambda: torch.full((2048, 2048), float("-inf"), device="cuda").triu(1))
    yield call("pad_sequence", lambda *xs: nn.utils.rnn.pad_sequence(list(xs), batch_first=True), *(f(n, 16) for n in (5, 9, 30)))
    yield call("router", _router, g(8192, 64), backward=True)
    yield call("moe permute", _permuted, g(8192, 512), i(8192, 2, high=64), backward=True)


def _rotary_complex(x: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * frequencies[None, :, None]).flatten(3).type_as(x)


def _rotary_halves(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def _router(scores: torch.Tensor) -> torch.Tensor:
    weights, experts = torch.topk(scores.float().softmax(-1), 2)
    counts = torch.histc(experts.float(), bins=64, min=0, max=64)
    return weights * (counts.sum() > 0)


def _permuted(x: torch.Tensor, experts: torch.Tensor) -> torch.Tensor:
    order = torch.argsort(experts.view(-1), stable=True)
    routed = x[order // experts.shape[1]]
    return torch.zeros_like(x).scatter_add(0, (order // experts.shape[1])[:, None].expand(-1, x.shape[1]), routed)


def models() -> Iterator[Call]:
    """Parts of models, as they are put together."""
    x = g(4, 512, 768)
    mlp = module("MLP", lambda: nn.Sequential(nn.Linear(768, 3072), nn.GELU(), nn.Linear(3072, 768), nn.Dropout(0.1)), BF16)
    yield call("mlp", lambda m, x: m(x), mlp, x, backward=True)
    yield call("mlp checkpoint", lambda m, x: checkpoint(m, x, use_reentrant=False), mlp, x, backward=True)
    yield call("mlp checkpoint reentrant", lambda m, x: checkpoint(m, x, use_reentrant=True), mlp, x, backward=True)
    mlp32 = module("MLP", lambda: nn.Sequential(nn.Linear(768, 3072), nn.GELU(), nn.Linear(3072, 768)), F32)
    yield call("mlp autocast", lambda m, x: torch.autocast("cuda", BF16)(m.forward)(x), mlp32, f(4, 512, 768, grad=True), backward=True)
    yield call(
        "mlp autocast half", lambda m, x: torch.autocast("cuda", HALF)(m.forward)(x), mlp32, f(4, 512, 768, grad=True), backward=True
    )
    block = module(
        "resnet block", lambda: nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
    )
    yield call("conv block", lambda m, x: m(x), block, f(16, 64, 56, 56, grad=True), backward=True)
