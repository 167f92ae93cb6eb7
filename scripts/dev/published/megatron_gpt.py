"""Train a GPT as Megatron-LM did in 2022, in plain PyTorch: float16, attention without flash kernels, tensor and pipeline parallelism.

torchrun --nproc-per-node 8 scripts/dev/published/megatron_gpt.py --layers 48 --dim 6144 --heads 64 --micro-batch 4 --recompute full

With `--recompute attention` and `--sequence-parallel` as in arXiv 2205.05198, with `--recompute full` as before it. What Megatron had as
kernels of its own (softmax with scale and causal mask) or fused with the JIT (bias and GELU; bias, dropout and residual) are functions
under `torch.compile` here. The embedding of the last stage has its own gradient: its sum with the first one's is left out.
"""

import argparse
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from megatron_parallel import (
    ColumnParallel,
    Layout,
    ParallelCrossEntropy,
    RowParallel,
    ShardedOptimizer,
    add_gradient,
    add_made_gradient,
    applied,
    gathered,
    make_layout,
    scattered_sum,
    size,
)
from megatron_pipeline import Interleaved, Messages, Pipeline
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

DROPOUT = 0.1


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a GPT as Megatron-LM did in 2022.")
    parser.add_argument("--layers", type=int, default=48, help="of the whole model")
    parser.add_argument("--dim", type=int, default=6144)
    parser.add_argument("--heads", type=int, default=64)
    parser.add_argument("--vocab", type=int, default=51_200)
    parser.add_argument("--seq-len", type=int, default=2048)
    parser.add_argument("--micro-batch", type=int, default=1, help="sequences")
    parser.add_argument("--micro-batches", type=int, default=1, help="per step")
    parser.add_argument("--tp", type=int, default=8)
    parser.add_argument("--pp", type=int, default=1)
    parser.add_argument("--vp", type=int, default=1, help="chunks of layers of each pipeline stage, interleaved")
    parser.add_argument("--sequence-parallel", action="store_true")
    parser.add_argument("--recompute", choices=("none", "attention", "full"), default="none")
    parser.add_argument("--steps", type=int, default=10)
    return parser.parse_args()


class CopiedColumnParallel(torch.autograd.Function):
    """The product of what every rank has with this rank's columns. Backward sums the gradient over ranks, beside a product."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.group = group
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        whole = gradient @ weight
        summing = None if ctx.group is None else dist.all_reduce(whole, group=ctx.group, async_op=True)
        made = add_gradient(weight, gradient, x)
        if summing is not None:
            summing.wait()
        return whole, made, None


class SummedRowParallel(torch.autograd.Function):
    """The product with this rank's rows, summed over ranks: every rank gets the whole."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return summed(x @ weight.t(), group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        return gradient @ weight, add_gradient(weight, gradient, x), None


def summed(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """`x`, now the sum over ranks."""
    if group is not None:
        dist.all_reduce(x, group=group)
    return x


class Embed(torch.autograd.Function):
    """The rows of this rank's part of the vocabulary, summed over ranks; in a sequence-parallel model each keeps its part."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, group: dist.ProcessGroup | None, is_split: bool) -> Tensor:
        ctx.save_for_backward(tokens, weight)
        ctx.group, ctx.is_split = group, is_split
        rows = functional.embedding(tokens, weight)
        return scattered_sum(rows, group)[0] if is_split else summed(rows, group)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, None, None]:
        tokens, weight = ctx.saved_tensors
        whole = gathered(gradient, ctx.group)[0] if ctx.is_split else gradient
        rows = torch.ops.aten.embedding_dense_backward(whole.flatten(0, 1), tokens.flatten(), weight.shape[0], -1, False)
        return None, add_made_gradient(weight, rows), None, None


@torch.compile
def softmax_forward(scores: Tensor, causal: Tensor, scale: float) -> Tensor:
    return torch.softmax((scores * scale).masked_fill(causal, -10_000.0), -1)


@torch.compile
def softmax_backward(gradient: Tensor, probabilities: Tensor, scale: float) -> Tensor:
    weighted = gradient * probabilities
    return (weighted - probabilities * weighted.sum(-1, keepdim=True)) * scale


class CausalSoftmax(torch.autograd.Function):
    """Of scores (batch x heads, seq, seq), one kernel each way."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, causal: Tensor, scale: float) -> Tensor:
        probabilities = softmax_forward(scores, causal, scale)
        ctx.save_for_backward(probabilities)
        ctx.scale = scale
        return probabilities

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (probabilities,) = ctx.saved_tensors
        return softmax_backward(gradient, probabilities, ctx.scale), None, None


@torch.compile
def biased_gelu(x: Tensor, bias: Tensor) -> Tensor:
    return functional.gelu(x + bias, approximate="tanh")


@torch.compile
def biased_dropout_added(x: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    return residual + functional.dropout(x + bias, DROPOUT)


class Layer(nn.Module):
    """One block; its activations are (sequence, or this rank's part of it, batch, dim)."""

    def __init__(self, args: argparse.Namespace, layout: Layout, causal: Tensor) -> None:
        super().__init__()
        self.tp, self.causal, self.recomputes_attention = layout.tp, causal, args.recompute == "attention"
        self.column = ColumnParallel if args.sequence_parallel else CopiedColumnParallel
        self.row = RowParallel if args.sequence_parallel else SummedRowParallel
        tp, dim = size(layout.tp), args.dim
        self.heads, self.head_dim = args.heads // tp, dim // args.heads

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device="meta"))

        self.norms = nn.ParameterList(parameter(dim) for _ in range(4))
        self.qkv, self.qkv_bias = parameter(3 * dim // tp, dim), parameter(3 * dim // tp)
        self.out, self.out_bias = parameter(dim, dim // tp), parameter(dim)
        self.up, self.up_bias = parameter(4 * dim // tp, dim), parameter(4 * dim // tp)
        self.down, self.down_bias = parameter(dim, 4 * dim // tp), parameter(dim)

    def core_attention(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Of (seq, batch, heads, head_dim) each, (seq, batch, heads x head_dim)."""
        seq, batch = query.shape[:2]
        query, key, value = (each.reshape(seq, batch * self.heads, self.head_dim).transpose(0, 1) for each in (query, key, value))
        scores = torch.bmm(query, key.transpose(1, 2))
        probabilities = applied(CausalSoftmax, scores, self.causal, 1 / math.sqrt(self.head_dim))
        attended = torch.bmm(functional.dropout(probabilities, DROPOUT), value)
        return attended.view(batch, self.heads, seq, self.head_dim).permute(2, 0, 1, 3).reshape(seq, batch, -1)

    def forward(self, x: Tensor) -> Tensor:
        dim = (x.shape[-1],)
        qkv = applied(self.column, functional.layer_norm(x, dim, self.norms[0], self.norms[1]), self.qkv, self.tp) + self.qkv_bias
        parts = qkv.view(*qkv.shape[:2], self.heads, -1).chunk(3, -1)
        core = partial(checkpoint, self.core_attention, use_reentrant=True) if self.recomputes_attention else self.core_attention
        x = biased_dropout_added(applied(self.row, core(*parts), self.out, self.tp), self.out_bias, x)
        hidden = applied(self.column, functional.layer_norm(x, dim, self.norms[2], self.norms[3]), self.up, self.tp)
        return biased_dropout_added(applied(self.row, biased_gelu(hidden, self.up_bias), self.down, self.tp), self.down_bias, x)


class Chunk(nn.Module):
    """Consecutive layers of the model, with the embeddings before the first and norm, output head and loss after the last one."""

    def __init__(self, args: argparse.Namespace, layout: Layout, number: int) -> None:
        super().__init__()
        self.tp, self.is_split, self.recomputes = layout.tp, args.sequence_parallel, args.recompute == "full"
        part = args.vocab // size(layout.tp)
        is_first, is_last = layout.is_first and number == 0, layout.is_last and number == args.vp - 1
        causal = torch.ones(args.seq_len, args.seq_len, dtype=torch.bool, device=layout.device).triu(1)
        self.embedding = nn.Parameter(torch.empty(part, args.dim, device="meta")) if is_first else None
        own_length = args.seq_len // size(layout.tp) if self.is_split else args.seq_len
        self.positions = nn.Parameter(torch.empty(own_length, 1, args.dim, device="meta")) if is_first else None
        self.layers = nn.ModuleList(Layer(args, layout, causal) for _ in range(args.layers // (args.pp * args.vp)))
        self.norms = nn.ParameterList(torch.empty(args.dim, device="meta") for _ in range(2)) if is_last else None
        self.head = nn.Parameter(torch.empty(part, args.dim, device="meta")) if is_last else None

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Of tokens (seq, batch), or of what the layers before made, the loss, or what the next layers get."""
        if self.embedding is not None and self.positions is not None:
            x = functional.dropout(applied(Embed, x, self.embedding, self.tp, self.is_split) + self.positions, DROPOUT)
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=True) if self.recomputes else layer(x)
        if self.head is None or self.norms is None:
            return x
        x = functional.layer_norm(x, (x.shape[-1],), self.norms[0], self.norms[1])
        logits = applied(ColumnParallel if self.is_split else CopiedColumnParallel, x, self.head, self.tp)
        return applied(ParallelCrossEntropy, logits, labels, self.tp)


def micro_batches(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and labels, each (sequence, batch)."""
    while True:
        tokens = torch.zeros(2, args.seq_len, args.micro_batch, dtype=torch.int64).to(device, non_blocking=True)
        yield tokens[0], tokens[1]


def main() -> None:
    args = parse_args()
    layout = make_layout(args.tp, 1, args.pp)
    chunks = nn.ModuleList(Chunk(args, layout, number) for number in range(args.vp))
    optimizer = ShardedOptimizer(chunks, layout, torch.float16)
    own_length = args.seq_len // size(layout.tp) if args.sequence_parallel else args.seq_len
    messages = Messages(
        layout,
        (own_length, args.micro_batch, args.dim),
        torch.float16,
        ring=args.vp > 1,
        in_parts=not args.sequence_parallel,
        is_synchronous=True,
    )
    pipeline = (Interleaved if args.vp > 1 else Pipeline)(list(chunks), messages, args.micro_batches)
    batches = micro_batches(args, layout.device)
    for _ in range(args.steps):
        optimizer.zero_grad()
        pipeline.step(batches)
        optimizer.step()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
