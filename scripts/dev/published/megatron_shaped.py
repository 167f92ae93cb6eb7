"""Train a Llama as Megatron-LM does, in plain PyTorch: tensor, sequence, context (all-to-all) and pipeline parallelism, sharded optimizer.

torchrun --nproc-per-node 8 scripts/dev/published/megatron_shaped.py --tp 2 --layers 12 --dim 8192 --heads 64 --kv-heads 8 --ffn 28672

What Megatron and its Transformer Engine run as kernels of their own are functions under `torch.compile` here: the rotation, SwiGLU, the
loss. As there, attention is cuDNN's, and the product that makes a gradient adds it to the float32 sum.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a Llama as Megatron-LM does.")
    parser.add_argument("--layers", type=int, default=12, help="of the whole model")
    parser.add_argument("--dim", type=int, default=8192)
    parser.add_argument("--heads", type=int, default=64)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--ffn", type=int, default=28672)
    parser.add_argument("--vocab", type=int, default=128_256)
    parser.add_argument("--seq-len", type=int, default=4096)
    parser.add_argument("--micro-batch", type=int, default=1, help="sequences")
    parser.add_argument("--micro-batches", type=int, default=4, help="per step")
    parser.add_argument("--tp", type=int, default=1)
    parser.add_argument("--cp", type=int, default=1)
    parser.add_argument("--pp", type=int, default=1)
    parser.add_argument("--recompute", choices=("none", "full"), default="none")
    parser.add_argument("--steps", type=int, default=10)
    return parser.parse_args()


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


def make_layout(args: argparse.Namespace) -> Layout:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    dist.init_process_group("nccl")
    dp = dist.get_world_size() // (args.pp * args.cp * args.tp)
    mesh = init_device_mesh("cuda", (args.pp, dp, args.cp, args.tp), mesh_dim_names=("pp", "dp", "cp", "tp"))
    data = mesh["dp", "cp"]._flatten("data") if args.cp > 1 else mesh["dp"]  # noqa: SLF001  torchtitan's way to a group of two axes

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


def add_gradient(weight: Tensor, gradient: Tensor, x: Tensor) -> None:
    """Add the gradient of a weight to its float32 sum."""
    total = weight.main_grad  # type: ignore[attr-defined]
    torch.addmm(total, gradient.flatten(0, -2).t(), x.flatten(0, -2), out_dtype=torch.float32, out=total)


class ColumnParallel(torch.autograd.Function):
    """The product of all ranks' parts of a sequence with this rank's columns. Backward gathers the sequence again, beside a product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.group = group
        return gathered(x, group)[0] @ weight.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, weight = ctx.saved_tensors
        whole, gathering = gathered(x, ctx.group, wait=False)
        whole_gradient = gradient @ weight
        if gathering is not None:
            gathering.wait()
        part, summing = scattered_sum(whole_gradient, ctx.group, wait=False)
        add_gradient(weight, gradient, whole)
        if summing is not None:
            summing.wait()
        return part, None, None


class RowParallel(torch.autograd.Function):
    """The product with this rank's rows, summed over ranks, of which each keeps its part of the sequence."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.group = group
        return scattered_sum(x @ weight.t(), group)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, weight = ctx.saved_tensors
        whole, _ = gathered(gradient, ctx.group)
        part = whole @ weight
        add_gradient(weight, whole, x)
        return part, None, None


class Exchange(torch.autograd.Function):
    """Of (seq / n, batch, heads, dim) on each of n ranks make (seq, batch, heads / n, dim), or the other way (`to_heads` False)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup, to_heads: bool) -> Tensor:
        ctx.group, ctx.to_heads = group, to_heads
        n = size(group)
        seq, batch, heads, dim = x.shape
        if to_heads:
            sent = x.view(seq, batch, n, heads // n, dim).permute(2, 0, 1, 3, 4).contiguous()
            received = torch.empty_like(sent)
            dist.all_to_all_single(received, sent, group=group)
            return received.flatten(0, 1)
        sent = x.contiguous().view(n, seq // n, batch, heads, dim)
        received = torch.empty_like(sent)
        dist.all_to_all_single(received, sent, group=group)
        return received.permute(1, 2, 0, 3, 4).reshape(seq // n, batch, heads * n, dim)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return Exchange.forward(ctx, gradient, ctx.group, not ctx.to_heads), None, None


class Embed(torch.autograd.Function):
    """The rows of this rank's part of the vocabulary, summed over ranks; each keeps its part of the sequence."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.save_for_backward(tokens, weight)
        ctx.group = group
        return scattered_sum(functional.embedding(tokens, weight), group)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        tokens, weight = ctx.saved_tensors
        whole, _ = gathered(gradient, ctx.group)
        rows = whole.flatten(0, 1)
        weight.main_grad.add_(torch.ops.aten.embedding_dense_backward(rows, tokens.flatten(), weight.shape[0], -1, False))
        return None, None, None


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


@torch.compile
def rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine


@torch.compile
def swiglu(x: Tensor) -> Tensor:
    gate, up = x.chunk(2, -1)
    return functional.silu(gate) * up


class Layer(nn.Module):
    """One block; its activations are (sequence of this rank, batch, dim)."""

    def __init__(self, args: argparse.Namespace, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        tp = size(layout.tp)
        self.heads, self.kv_heads, self.head_dim = args.heads // tp, args.kv_heads // tp, args.dim // args.heads
        self.norms = nn.ParameterList(torch.empty(args.dim, device="meta") for _ in range(2))
        self.qkv = nn.Parameter(torch.empty((self.heads + 2 * self.kv_heads) * self.head_dim, args.dim, device="meta"))
        self.out = nn.Parameter(torch.empty(args.dim, self.heads * self.head_dim, device="meta"))
        self.up = nn.Parameter(torch.empty(2 * args.ffn // tp, args.dim, device="meta"))
        self.down = nn.Parameter(torch.empty(args.dim, args.ffn // tp, device="meta"))

    def attention(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        qkv = applied(ColumnParallel, x, self.qkv, self.layout.tp)
        seq, batch = qkv.shape[:2]
        parts = qkv.view(seq, batch, -1, self.head_dim).split((self.heads, self.kv_heads, self.kv_heads), 2)
        query, key, value = rotated(parts[0], cosine, sine), rotated(parts[1], cosine, sine), parts[2]
        if self.layout.cp is not None:
            query, key, value = (applied(Exchange, each, self.layout.cp, True) for each in (query, key, value))
        query, key, value = (each.permute(1, 2, 0, 3) for each in (query, key, value))
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True).permute(2, 0, 1, 3)
        if self.layout.cp is not None:
            attended = applied(Exchange, attended, self.layout.cp, False)
        return applied(RowParallel, attended.reshape(seq, batch, -1), self.out, self.layout.tp)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        dim = (x.shape[-1],)
        x = x + self.attention(functional.rms_norm(x, dim, self.norms[0], 1e-5), cosine, sine)
        hidden = applied(ColumnParallel, functional.rms_norm(x, dim, self.norms[1], 1e-5), self.up, self.layout.tp)
        return x + applied(RowParallel, swiglu(hidden), self.down, self.layout.tp)


class Stage(nn.Module):
    """The layers of one pipeline stage, with the embedding on the first and norm, output head and loss on the last."""

    def __init__(self, args: argparse.Namespace, layout: Layout) -> None:
        super().__init__()
        self.layout, self.recompute = layout, args.recompute == "full"
        part = args.vocab // size(layout.tp)
        self.embedding = nn.Parameter(torch.empty(part, args.dim, device="meta")) if layout.is_first else None
        self.layers = nn.ModuleList(Layer(args, layout) for _ in range(args.layers // args.pp))
        self.norm = nn.Parameter(torch.empty(args.dim, device="meta")) if layout.is_last else None
        self.head = nn.Parameter(torch.empty(part, args.dim, device="meta")) if layout.is_last else None

    def forward(self, x: Tensor, labels: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Of tokens (seq, batch), or of what the stage before sent, the loss, or what the next stage gets."""
        if self.embedding is not None:
            x = applied(Embed, x, self.embedding, self.layout.tp)
        for layer in self.layers:
            x = checkpoint(layer, x, cosine, sine, use_reentrant=False) if self.recompute else layer(x, cosine, sine)
        if self.head is None or self.norm is None:
            return x
        logits = applied(ColumnParallel, functional.rms_norm(x, (x.shape[-1],), self.norm, 1e-5), self.head, self.layout.tp)
        return applied(ParallelCrossEntropy, logits, labels, self.layout.tp)


class ShardedOptimizer:
    """bfloat16 parameters and float32 gradients in one buffer each; every data-parallel rank updates a part of float32 copies of them."""

    def __init__(self, stage: Stage, layout: Layout) -> None:
        self.group, self.model_parallel = layout.data, layout.tp
        parameters = list(stage.parameters())
        ranks = size(layout.data)
        numel = -(-sum(each.numel() for each in parameters) // ranks) * ranks
        self.values = torch.zeros(numel, dtype=torch.bfloat16, device=layout.device)
        self.gradients = torch.zeros(numel, dtype=torch.float32, device=layout.device)
        begin = 0
        for name, parameter in list(stage.named_parameters()):
            end = begin + parameter.numel()
            made = nn.Parameter(self.values[begin:end].view(parameter.shape))
            made.main_grad = self.gradients[begin:end].view(parameter.shape)  # type: ignore[attr-defined]
            owner, _, field = name.rpartition(".")
            module = stage.get_submodule(owner)
            if isinstance(module, nn.ParameterList):
                module[int(field)] = made
            else:
                setattr(module, field, made)
            begin = end
        self.norm_weights = [each for each in stage.parameters() if each.dim() == 1]
        rank = 0 if layout.data is None else dist.get_rank(layout.data)
        own = slice(rank * (numel // ranks), (rank + 1) * (numel // ranks))
        self.own_values, self.own_gradients = self.values[own], self.gradients[own]
        self.master = nn.Parameter(self.own_values.float())
        self.adam = torch.optim.AdamW([self.master], lr=2.4e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def zero_grad(self) -> None:
        self.gradients.zero_()

    def step(self) -> None:
        for weight in self.norm_weights:  # Transformer Engine's norms have their gradients in `grad`, which is added and, for tp, summed
            if weight.grad is not None:
                weight.main_grad.add_(weight.grad)  # type: ignore[attr-defined]
                weight.grad = None
        if self.model_parallel is not None:
            flat = torch.cat([weight.main_grad for weight in self.norm_weights])  # type: ignore[attr-defined]
            dist.all_reduce(flat, group=self.model_parallel)
        if self.group is not None:
            dist.reduce_scatter_tensor(self.own_gradients, self.gradients, op=dist.ReduceOp.AVG, group=self.group)
        norm = torch.linalg.vector_norm(self.own_gradients) ** 2
        dist.all_reduce(norm)
        factor = (1.0 / (norm.sqrt() + 1e-6)).clamp(max=1.0)
        if norm.item() >= 0:  # Megatron reads the norm on the host
            self.own_gradients.mul_(factor)
        self.master.grad = self.own_gradients
        self.adam.step()
        self.own_values.copy_(self.master)
        if self.group is not None:
            dist.all_gather_into_tensor(self.values, self.own_values, group=self.group)


class Pipeline:
    """One forward, one backward (1F1B): the messages between the stages of a micro-batch, and the order of its two halves."""

    def __init__(self, stage: Stage, layout: Layout, args: argparse.Namespace) -> None:
        self.stage, self.layout = stage, layout
        local = args.seq_len // args.cp
        self.shape = (local // args.tp, args.micro_batch, args.dim)
        angles = torch.randn(args.seq_len, 1, 1, args.dim // args.heads, device=layout.device, dtype=torch.bfloat16)[:local]
        self.rope = angles.cos(), angles.sin()
        self.previous = None if layout.is_first else layout.pp_ranks[layout.stage - 1]
        self.next = None if layout.is_last else layout.pp_ranks[layout.stage + 1]
        self.count = args.micro_batches

    def exchange(self, sent: Tensor | None, to: int | None, source: int | None) -> Tensor | None:
        """Send to one neighbour and receive from one, at once; what is received, if anything."""
        operations, received = [], None
        if sent is not None and to is not None:
            operations.append(dist.P2POp(dist.isend, sent.contiguous(), to))
        if source is not None:
            received = torch.empty(self.shape, dtype=torch.bfloat16, device=self.layout.device)
            operations.append(dist.P2POp(dist.irecv, received, source))
        if operations:
            for work in dist.batch_isend_irecv(operations):
                work.wait()
        return received

    def forward(self, received: Tensor | None, batches: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor | None, Tensor]:
        tokens, labels = next(batches)
        x = tokens if received is None else received.requires_grad_()
        return received, self.stage(x, labels, *self.rope)

    def backward(self, received: Tensor | None, output: Tensor, gradient: Tensor | None) -> Tensor | None:
        if gradient is None:
            output.div(self.count).backward()
        else:
            output.backward(gradient)
        return None if received is None else received.grad

    def step(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Forward and backward of all micro-batches."""
        ahead = min(len(self.layout.pp_ranks) - self.layout.stage - 1, self.count)
        held = []
        for _ in range(ahead):
            held.append(self.forward(self.exchange(None, None, self.previous), batches))
            self.exchange(held[-1][1].detach(), self.next, None)
        steady = self.count - ahead
        received = self.exchange(None, None, self.previous) if steady else None
        for position in range(steady):
            held.append(self.forward(received, batches))
            gradient = self.exchange(held[-1][1].detach(), self.next, self.next)
            sent = self.backward(*held.pop(0), gradient)
            received = self.exchange(sent, self.previous, self.previous if position < steady - 1 else None)
        for _ in range(ahead):
            sent = self.backward(*held.pop(0), self.exchange(None, None, self.next))
            self.exchange(sent, self.previous, None)


def micro_batches(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Random tokens and labels, each (this rank's part of the sequence for context parallelism, batch)."""
    while True:
        tokens = torch.zeros(2, args.seq_len // args.cp, args.micro_batch, dtype=torch.int64).to(device, non_blocking=True)
        yield tokens[0], tokens[1]


def main() -> None:
    args = parse_args()
    layout = make_layout(args)
    stage = Stage(args, layout)
    optimizer = ShardedOptimizer(stage, layout)
    pipeline = Pipeline(stage, layout, args)
    batches = micro_batches(args, layout.device)
    for _ in range(args.steps):
        optimizer.zero_grad()
        pipeline.step(batches)
        optimizer.step()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
