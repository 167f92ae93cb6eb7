"""What programs in the shape of Megatron share: groups, products and a loss that are split over ranks, the sharded optimizer.

A group of None has one member.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The groups of this rank, None where they have one member."""

    device: torch.device
    tp: dist.ProcessGroup | None
    cp: dist.ProcessGroup | None
    data: dist.ProcessGroup | None
    """Data and context parallel ranks, which share gradients and the optimizer's state."""
    pp_ranks: tuple[int, ...]
    stage: int

    @property
    def is_first(self) -> bool:
        return self.stage == 0

    @property
    def is_last(self) -> bool:
        return self.stage == len(self.pp_ranks) - 1


def size(group: dist.ProcessGroup | None) -> int:
    return 1 if group is None else dist.get_world_size(group)


def make_layout(tp: int, cp: int, pp: int) -> Layout:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    dist.init_process_group("nccl")
    dp = dist.get_world_size() // (pp * cp * tp)
    mesh = init_device_mesh("cuda", (pp, dp, cp, tp), mesh_dim_names=("pp", "dp", "cp", "tp"))
    data = mesh["dp", "cp"]._flatten("data") if cp > 1 else mesh["dp"]  # noqa: SLF001  torchtitan's way to a group of two axes

    def group(part: Any) -> dist.ProcessGroup | None:
        return part.get_group() if part.size() > 1 else None

    return Layout(
        device=device,
        tp=group(mesh["tp"]),
        cp=group(mesh["cp"]),
        data=group(data),
        pp_ranks=tuple(mesh["pp"].mesh.tolist()),
        stage=mesh["pp"].get_local_rank(),
    )


def gathered(x: Tensor, group: dist.ProcessGroup | None, *, wait: bool = True) -> tuple[Tensor, dist.Work | None]:
    """`x` of all ranks, one after the other in the first dimension."""
    if group is None:
        return x, None
    whole = x.new_empty(x.shape[0] * size(group), *x.shape[1:])
    work = dist.all_gather_into_tensor(whole, x.contiguous(), group=group, async_op=not wait)
    return whole, work


def scattered_sum(x: Tensor, group: dist.ProcessGroup | None, *, wait: bool = True) -> tuple[Tensor, dist.Work | None]:
    """This rank's part, in the first dimension, of the sum of all ranks' `x`."""
    if group is None:
        return x, None
    part = x.new_empty(x.shape[0] // size(group), *x.shape[1:])
    work = dist.reduce_scatter_tensor(part, x.contiguous(), group=group, async_op=not wait)
    return part, work


def applied(function: type[torch.autograd.Function], *arguments: object) -> Tensor:
    return function.apply(*arguments)  # type: ignore[no-any-return]


def add_gradient(weight: Tensor, gradient: Tensor, x: Tensor) -> Tensor | None:
    """Add the gradient of a weight to its sum, in float32 or of the weight's type; a weight without a sum gets it from autograd."""
    total = getattr(weight, "main_grad", None)
    factors = gradient.flatten(0, -2).t(), x.flatten(0, -2)
    if total is None:
        return factors[0] @ factors[1]
    if total.dtype == torch.float32:
        torch.addmm(total, *factors, out_dtype=torch.float32, out=total)
    else:
        torch.addmm(total, *factors, out=total)
    return None


def add_made_gradient(weight: Tensor, gradient: Tensor) -> Tensor | None:
    """The same of a gradient that no product makes."""
    total = getattr(weight, "main_grad", None)
    if total is None:
        return gradient
    total.add_(gradient)
    return None


class ColumnParallel(torch.autograd.Function):
    """The product of all ranks' parts of a sequence with this rank's columns. Backward gathers the sequence again, beside a product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.group = group
        return gathered(x, group)[0] @ weight.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        whole, gathering = gathered(x, ctx.group, wait=False)
        whole_gradient = gradient @ weight
        if gathering is not None:
            gathering.wait()
        part, summing = scattered_sum(whole_gradient, ctx.group, wait=False)
        made = add_gradient(weight, gradient, whole)
        if summing is not None:
            summing.wait()
        return part, made, None


class RowParallel(torch.autograd.Function):
    """The product with this rank's rows, summed over ranks, of which each keeps its part of the sequence."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.group = group
        return scattered_sum(x @ weight.t(), group)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        whole, _ = gathered(gradient, ctx.group)
        part = whole @ weight
        return part, add_gradient(weight, whole, x), None


class Embed(torch.autograd.Function):
    """The rows of this rank's part of the vocabulary, summed over ranks; each keeps its part of the sequence."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.save_for_backward(tokens, weight)
        ctx.group = group
        return scattered_sum(functional.embedding(tokens, weight), group)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, None]:
        tokens, weight = ctx.saved_tensors
        whole, _ = gathered(gradient, ctx.group)
        rows = whole.flatten(0, 1)
        made = torch.ops.aten.embedding_dense_backward(rows, tokens.flatten(), weight.shape[0], -1, False)
        return None, add_made_gradient(weight, made), None


@torch.compile
def row_statistics(logits: Tensor, labels: Tensor) -> Tensor:
    """Of each row the largest value, the sum of exponentials, and the label's value."""
    values = logits.float()
    largest = values.amax(-1)
    return torch.stack((largest, (values - largest[..., None]).exp().sum(-1), values.gather(-1, labels[..., None]).squeeze(-1)))


@torch.compile
def logits_gradient(logits: Tensor, largest: Tensor, total: Tensor, scale: float) -> Tensor:
    return ((logits.float() - largest[..., None]).exp() * (scale / total)[..., None]).to(logits.dtype)


class ParallelCrossEntropy(torch.autograd.Function):
    """The mean loss of logits of which each rank has a part of the vocabulary: the gradient is made in forward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        own = row_statistics(logits, labels)
        every = gathered(own[None], group)[0]
        largest = every[:, 0].amax(0)
        total = (every[:, 1] * (every[:, 0] - largest).exp()).sum(0)
        ctx.save_for_backward(logits_gradient(logits, largest, total, 1.0 / labels.numel()))
        return (total.log() + largest - every[:, 2].amax(0)).mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (saved,) = ctx.saved_tensors
        return saved * gradient, None, None


class ShardedOptimizer:
    """Parameters in 16 bits and gradients in one buffer each; every data-parallel rank updates a part of float32 copies of them."""

    def __init__(self, model: nn.Module, layout: Layout, dtype: torch.dtype, gradient_dtype: torch.dtype = torch.float32) -> None:
        self.group, self.model_parallel = layout.data, layout.tp
        parameters = list(model.parameters())
        ranks = size(layout.data)
        numel = -(-sum(each.numel() for each in parameters) // ranks) * ranks
        self.values = torch.zeros(numel, dtype=dtype, device=layout.device)
        self.gradients = torch.zeros(numel, dtype=gradient_dtype, device=layout.device)
        begin = 0
        for name, parameter in list(model.named_parameters()):
            end = begin + parameter.numel()
            made = nn.Parameter(self.values[begin:end].view(parameter.shape))
            made.main_grad = self.gradients[begin:end].view(parameter.shape)  # type: ignore[attr-defined]
            made.is_float8 = getattr(parameter, "is_float8", False)  # type: ignore[attr-defined]
            owner, _, field = name.rpartition(".")
            module = model.get_submodule(owner)
            if isinstance(module, nn.ParameterList):
                module[int(field)] = made
            else:
                setattr(module, field, made)
            begin = end
        self.parameters = list(model.parameters())
        self.vectors = [each for each in self.parameters if each.dim() == 1]
        rank = 0 if layout.data is None else dist.get_rank(layout.data)
        own = slice(rank * (numel // ranks), (rank + 1) * (numel // ranks))
        self.own_values, self.own_gradients = self.values[own], self.gradients[own]
        self.master = nn.Parameter(self.own_values.float())
        self.adam = torch.optim.AdamW([self.master], lr=2.4e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def zero_grad(self) -> None:
        self.gradients.zero_()

    def step(self) -> None:
        for parameter in self.parameters:  # norms and biases have their gradients in `grad`, which is added and, for tp, summed
            if parameter.grad is not None:
                parameter.main_grad.add_(parameter.grad)  # type: ignore[attr-defined]
                parameter.grad = None
        if self.model_parallel is not None:
            flat = torch.cat([vector.main_grad for vector in self.vectors])  # type: ignore[attr-defined]
            dist.all_reduce(flat, group=self.model_parallel)
        if self.group is not None:
            dist.reduce_scatter_tensor(self.own_gradients, self.gradients, op=dist.ReduceOp.AVG, group=self.group)
        norm = torch.linalg.vector_norm(self.own_gradients, dtype=torch.float32) ** 2
        dist.all_reduce(norm)
        factor = (1.0 / (norm.sqrt() + 1e-6)).clamp(max=1.0)
        if norm.item() >= 0:  # Megatron reads the norm on the host
            self.own_gradients.mul_(factor)
        self.master.grad = self.own_gradients.float()
        self.adam.step()
        self.own_values.copy_(self.master)
        if self.group is not None:
            dist.all_gather_into_tensor(self.values, self.own_values, group=self.group)
