"""Linear layers in float8 as Transformer Engine computes them with scales of the current tensors, by torch's own products.

Inputs and weights are in e4m3, gradients in e5m2. A tensor has one scale, from its largest value; where ranks gather it, the largest of
them all. The product of a gradient with its input is in bfloat16, and a kernel of its own adds it to the sum: torch has none for both.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from megatron_parallel import add_made_gradient, gathered, scattered_sum
from torch import Tensor, nn

INPUT, GRADIENT = torch.float8_e4m3fn, torch.float8_e5m2


@dataclass(frozen=True)
class Quantized:
    """Numbers in float8, (rows, columns), and one over their scale. `transposed` is contiguous, too; products need both."""

    values: Tensor
    transposed: Tensor
    inverse: Tensor


@torch.compile
def largest(x: Tensor) -> Tensor:
    return x.abs().amax().float()


@torch.compile
def scaled(x: Tensor, scale: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    values = (x.float() * scale).to(dtype)
    return values, values.t().contiguous()


def quantized(x: Tensor, dtype: torch.dtype, group: dist.ProcessGroup | None = None) -> Quantized:
    """A matrix in float8, with one scale for all ranks of the group."""
    found = largest(x)
    if group is not None:
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=group)
    scale = torch.finfo(dtype).max / found.clamp(min=1e-12)
    values, transposed = scaled(x, scale, dtype)
    return Quantized(values, transposed, scale.reciprocal())


def product(left: Tensor, right: Tensor, left_inverse: Tensor, right_inverse: Tensor) -> Tensor:
    """`left` times the transposed `right`, both contiguous, in bfloat16."""
    return torch._scaled_mm(left, right.t(), left_inverse, right_inverse, out_dtype=torch.bfloat16, use_fast_accum=True)  # noqa: SLF001


def gathered_float8(x: Tensor, group: dist.ProcessGroup | None, *, wait: bool = True) -> tuple[Tensor, dist.Work | None]:
    whole, work = gathered(x.view(torch.uint8), group, wait=wait)
    return whole.view(x.dtype), work


def quantize_weights(model: nn.Module) -> None:
    """Make the float8 copies of all weights that are used in float8, once a step."""
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            if getattr(weight, "is_float8", False):
                weight.float8 = quantized(weight.detach(), INPUT)  # type: ignore[attr-defined]


def float8_weight(weight: Tensor) -> Quantized:
    """The copy of this step; of a weight that is gathered for each use, one that is made of it now."""
    made: Quantized | None = getattr(weight, "float8", None)
    return quantized(weight.detach(), INPUT) if made is None else made


class Float8ColumnParallel(torch.autograd.Function):
    """As `ColumnParallel`, in float8: the sequence is gathered in float8."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        batch = x.shape[1]
        own: Quantized = quantized(x.flatten(0, 1), INPUT, group)
        values = own.values if group is None else gathered_float8(own.values, group)[0]
        ctx.made = made = float8_weight(weight)
        ctx.group, ctx.batch, ctx.inverse = group, batch, own.inverse
        ctx.save_for_backward(own.transposed if group is None else own.values, weight)
        return product(values, made.values, own.inverse, made.inverse).view(-1, batch, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        saved, weight = ctx.saved_tensors
        made: Quantized = ctx.made
        gathering = None
        if ctx.group is not None:
            saved, gathering = gathered_float8(saved, ctx.group, wait=False)
        given = quantized(gradient.flatten(0, 1), GRADIENT)
        whole = product(given.values, made.transposed, given.inverse, made.inverse)
        if gathering is not None:
            gathering.wait()
            saved = saved.t().contiguous()
        part, summing = scattered_sum(whole.view(-1, ctx.batch, whole.shape[-1]), ctx.group, wait=False)
        added = add_made_gradient(weight, product(given.transposed, saved, given.inverse, ctx.inverse))
        if summing is not None:
            summing.wait()
        return part, added, None


class Float8RowParallel(torch.autograd.Function):
    """As `RowParallel`, in float8: the gradient is gathered in float8."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        seq, batch, _ = x.shape
        own = quantized(x.flatten(0, 1), INPUT)
        ctx.made = made = float8_weight(weight)
        ctx.group, ctx.batch, ctx.inverse = group, batch, own.inverse
        ctx.save_for_backward(own.transposed, weight)
        return scattered_sum(product(own.values, made.values, own.inverse, made.inverse).view(seq, batch, -1), group)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        transposed, weight = ctx.saved_tensors
        made: Quantized = ctx.made
        given = quantized(gradient.flatten(0, 1), GRADIENT, ctx.group)
        values, columns = given.values, given.transposed
        if ctx.group is not None:
            values = gathered_float8(values, ctx.group)[0]
            columns = values.t().contiguous()
        part = product(values, made.transposed, given.inverse, made.inverse)
        added = add_made_gradient(weight, product(columns, transposed, given.inverse, ctx.inverse))
        return part.view(-1, ctx.batch, part.shape[-1]), added, None
