"""Scaled dot-product attention by kernel, forward and backward. Shapes are (batch, heads, heads of keys, length, head dimension)."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from dev.gpu.operations.bench import Bench, Call, Item
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Shape = tuple[int, int, int, int, int]

KERNELS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION}

MAIN: list[Shape] = [
    (1, 32, 8, 8192, 128),
    (8, 12, 12, 1024, 64),
    (4, 32, 32, 2048, 128),
    (2, 32, 8, 4096, 128),
    (1, 32, 32, 4096, 128),
    (1, 32, 32, 8192, 128),
    (16, 32, 32, 512, 128),
    (16, 12, 12, 1024, 64),
    (1, 64, 8, 8192, 128),
    (1, 32, 8, 16384, 128),
    (1, 8, 1, 8192, 128),
    (4, 32, 32, 2048, 64),
    (1, 32, 32, 8192, 64),
    (2, 16, 16, 4096, 256),
    (1, 16, 16, 8192, 256),
    (1, 8, 8, 32768, 128),
    (1, 4, 1, 8192, 128),
    (8, 16, 16, 1024, 128),
    (1, 12, 12, 1024, 64),
    (32, 16, 16, 512, 64),
    (1, 128, 8, 4096, 128),
    (1, 16, 2, 8192, 128),
    (64, 12, 12, 128, 64),
    (64, 12, 12, 512, 64),
]
SHAPES = {"flash": MAIN, "cudnn": MAIN[:14], "efficient": [shape for shape in MAIN[:14] if shape[1] == shape[2]]}
"""cuDNN compiles a plan for each shape; the memory-efficient kernel takes no grouped heads (torch 2.11)."""


def items() -> Iterator[Item]:
    for causal in (True, False):
        for kernel, shapes in SHAPES.items():
            for shape in shapes if causal else shapes[: len(shapes) // 2]:
                yield from _passes(shape, kernel, causal=causal)
    for shape in MAIN[:2]:
        yield _item(shape, "default", causal=True, backward=False)
        yield _item(shape, "default", causal=True, backward=True)
    yield Item(kind="attention", name="explicit mask", fields={"shape": MAIN[2], "dtype": "bf16"}, measure=partial(_masked, shape=MAIN[2]))


def _passes(shape: Shape, kernel: str, *, causal: bool) -> Iterator[Item]:
    yield _item(shape, kernel, causal=causal, backward=False)
    yield _item(shape, kernel, causal=causal, backward=True)


def _item(shape: Shape, kernel: str, *, causal: bool, backward: bool) -> Item:
    fields = {"shape": shape, "dtype": "bf16", "causal": causal, "pass": "backward" if backward else "forward"}
    return Item(
        kind="attention",
        name=kernel,
        fields=fields,
        measure=partial(_measure, shape=shape, kernel=kernel, causal=causal, backward=backward),
    )


def _operands(bench: Bench, shape: Shape, grad: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as a linear layer leaves them, (batch, length, heads, dimension), transposed."""
    batch, heads, kv_heads, length, dimension = shape
    batch, length = bench.size(batch), bench.size(length)

    def one(heads: int) -> Tensor:
        return bench.random(batch, length, heads, dimension).transpose(1, 2).requires_grad_(grad)

    return one(heads), one(kv_heads), one(kv_heads)


def _measure(bench: Bench, *, shape: Shape, kernel: str, causal: bool, backward: bool) -> dict[str, Any]:
    def make() -> Call:
        return partial(F.scaled_dot_product_attention, *operands(), is_causal=causal, enable_gqa=shape[1] != shape[2])

    operands = partial(_operands, bench, shape, backward)
    kernels = [KERNELS[kernel]] if kernel in KERNELS else [*KERNELS.values(), SDPBackend.MATH]
    with sdpa_kernel(kernels):
        if not backward:
            return bench.device_time(bench.rotated(_input_bytes(shape), make))
        calls = bench.rotated(4 * _input_bytes(shape), lambda: _backward(bench, make()))
        return bench.device_time(calls)


def _input_bytes(shape: Shape) -> int:
    batch, heads, kv_heads, length, dimension = shape
    return 2 * batch * length * dimension * (heads + 2 * kv_heads)


def _backward(bench: Bench, attend: Any) -> Call:
    """The backward pass of one attention, which can be called again."""
    out = attend()
    gradient = bench.random(*out.transpose(1, 2).shape).transpose(1, 2)
    return partial(torch.autograd.grad, out, attend.args, gradient, retain_graph=True)


def _masked(bench: Bench, *, shape: Shape) -> dict[str, Any]:
    q, k, v = _operands(bench, shape, False)
    length = q.shape[2]
    mask = torch.ones(length, length, device=bench.device, dtype=torch.bool).tril()
    return bench.device_time([partial(F.scaled_dot_product_attention, q, k, v, attn_mask=mask)])
