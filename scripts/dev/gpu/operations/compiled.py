"""The same under `torch.compile`, in a process of its own: chains of pointwise operations, norms, and blocks."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from dev.gpu.operations import blocks
from dev.gpu.operations.bench import Bench, Call, Item
from torch import Tensor
from torch._functorch import config as functorch_config

KEEPS_WHAT_IT_SAVED: Any = functorch_config
"""A compiled backward pass gives away what forward saved for it, and so runs once, unless `donated_buffer` is false when it is compiled."""

SIZES = [(2048, 4096), (8192, 4096), (16384, 16384)]


def _chain(x: Tensor, y: Tensor) -> Tensor:
    for _ in range(4):
        x = F.silu(x) * y + x
    return x


def _rms_norm(x: Tensor, y: Tensor) -> Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-5)).type_as(x) * y[0]


def _residual_norm(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    total = x + y
    return total, F.rms_norm(total, (x.shape[-1],), y[0], 1e-5)


def _loss(x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(x.float(), y[:, 0].abs().long())


FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "rms_norm, composed": _rms_norm,
    "four times silu, mul, add": _chain,
    "add and rms_norm": _residual_norm,
    "cross_entropy of a cast": _loss,
}


def items() -> Iterator[Item]:
    yield _function("rms_norm, composed", SIZES[1], False)
    yield from list(blocks.items(compiled=True))[:2]
    for name in FUNCTIONS:
        for backward in (False, True):
            for shape in SIZES[:2] if backward else SIZES:
                yield _function(name, shape, backward)
    yield from list(blocks.items(compiled=True))[2:]


def _function(name: str, shape: tuple[int, int], backward: bool) -> Item:
    fields = {"shape": shape, "dtype": "bf16", "pass": "backward" if backward else "forward", "compiled": True}
    return Item(kind="compiled", name=name, fields=fields, measure=partial(_measure, name=name, shape=shape, backward=backward))


def _measure(bench: Bench, *, name: str, shape: tuple[int, int], backward: bool) -> dict[str, Any]:
    with KEEPS_WHAT_IT_SAVED.patch(donated_buffer=False):
        return _measured(bench, name=name, shape=shape, backward=backward)


def _measured(bench: Bench, *, name: str, shape: tuple[int, int], backward: bool) -> dict[str, Any]:
    rows, columns = (bench.size(dimension) for dimension in shape)
    function = torch.compile(FUNCTIONS[name])

    def make() -> Call:
        x, y = (bench.random(rows, columns).requires_grad_(backward) for _ in range(2))
        if not backward:
            return partial(function, x, y)
        out = function(x, y)
        out = out[1] if isinstance(out, tuple) else out
        inputs = [x] if name == "cross_entropy of a cast" else [x, y]
        return partial(torch.autograd.grad, out, inputs, torch.randn_like(out), retain_graph=True)

    began = time.perf_counter()
    calls = bench.rotated(4 * rows * columns, make)
    calls[0]()
    bench.synchronize()
    warm_up_s = round(time.perf_counter() - began, 2)
    return {**bench.device_time(calls, total_ms=12), "warm_up_s": warm_up_s, "host": bench.host_time(calls[0], n=5, batches=5)}
