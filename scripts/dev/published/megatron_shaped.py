"""Train a Llama as Megatron-LM does, in plain PyTorch: tensor, sequence, context (all-to-all) and pipeline parallelism, sharded optimizer.

torchrun --nproc-per-node 8 scripts/dev/published/megatron_shaped.py --tp 2 --layers 12 --dim 8192 --heads 64 --kv-heads 8 --ffn 28672

What Megatron and its Transformer Engine run as kernels of their own are functions under `torch.compile` here: the rotation, SwiGLU, the
loss. As there, attention is cuDNN's, and the product that makes a gradient adds it to the float32 sum.
"""

import argparse
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from megatron_float8 import Float8ColumnParallel, Float8RowParallel, quantize_weights
from megatron_parallel import (
    ColumnParallel,
    Embed,
    Layout,
    ParallelCrossEntropy,
    RowParallel,
    ShardedOptimizer,
    applied,
    make_layout,
    size,
)
from megatron_pipeline import Interleaved, Messages, Pipeline
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
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
    parser.add_argument("--vp", type=int, default=1, help="chunks of layers of each pipeline stage, interleaved")
    parser.add_argument("--recompute", choices=("none", "full"), default="none")
    parser.add_argument("--float8", action="store_true", help="the layers' products; gradients are summed in bfloat16 then")
    parser.add_argument("--fully-sharded", action="store_true", help="the weights, too; data parallelism only")
    parser.add_argument("--steps", type=int, default=10)
    return parser.parse_args()


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
        self.column = Float8ColumnParallel if args.float8 else ColumnParallel
        self.row = Float8RowParallel if args.float8 else RowParallel
        self.norms = nn.ParameterList(torch.empty(args.dim, device="meta") for _ in range(2))
        self.qkv = nn.Parameter(torch.empty((self.heads + 2 * self.kv_heads) * self.head_dim, args.dim, device="meta"))
        self.out = nn.Parameter(torch.empty(args.dim, self.heads * self.head_dim, device="meta"))
        self.up = nn.Parameter(torch.empty(2 * args.ffn // tp, args.dim, device="meta"))
        self.down = nn.Parameter(torch.empty(args.dim, args.ffn // tp, device="meta"))
        for weight in (self.qkv, self.out, self.up, self.down):
            weight.is_float8 = args.float8  # type: ignore[attr-defined]

    def attention(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        qkv = applied(self.column, x, self.qkv, self.layout.tp)
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
        return applied(self.row, attended.reshape(seq, batch, -1), self.out, self.layout.tp)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        dim = (x.shape[-1],)
        x = x + self.attention(functional.rms_norm(x, dim, self.norms[0], 1e-5), cosine, sine)
        hidden = applied(self.column, functional.rms_norm(x, dim, self.norms[1], 1e-5), self.up, self.layout.tp)
        return x + applied(self.row, swiglu(hidden), self.down, self.layout.tp)


class Chunk(nn.Module):
    """Consecutive layers of the model, with the embedding before the first and norm, output head and loss after the last one."""

    def __init__(self, args: argparse.Namespace, layout: Layout, number: int) -> None:
        super().__init__()
        self.layout, self.recompute = layout, args.recompute == "full"
        part = args.vocab // size(layout.tp)
        is_first, is_last = layout.is_first and number == 0, layout.is_last and number == args.vp - 1
        self.embedding = nn.Parameter(torch.empty(part, args.dim, device="meta")) if is_first else None
        self.layers = nn.ModuleList(Layer(args, layout) for _ in range(args.layers // (args.pp * args.vp)))
        self.norm = nn.Parameter(torch.empty(args.dim, device="meta")) if is_last else None
        self.head = nn.Parameter(torch.empty(part, args.dim, device="meta")) if is_last else None
        local = args.seq_len // args.cp
        angles = torch.randn(args.seq_len, 1, 1, args.dim // args.heads, device=layout.device, dtype=torch.bfloat16)[:local]
        self.cosine, self.sine = angles.cos(), angles.sin()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Of tokens (seq, batch), or of what the layers before made, the loss, or what the next layers get."""
        if self.embedding is not None:
            x = applied(Embed, x, self.embedding, self.layout.tp)
        for layer in self.layers:
            x = checkpoint(layer, x, self.cosine, self.sine, use_reentrant=False) if self.recompute else layer(x, self.cosine, self.sine)
        if self.head is None or self.norm is None:
            return x
        logits = applied(ColumnParallel, functional.rms_norm(x, (x.shape[-1],), self.norm, 1e-5), self.head, self.layout.tp)
        return applied(ParallelCrossEntropy, logits, labels, self.layout.tp)


def micro_batches(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Random tokens and labels, each (this rank's part of the sequence for context parallelism, batch)."""
    while True:
        tokens = torch.zeros(2, args.seq_len // args.cp, args.micro_batch, dtype=torch.int64).to(device, non_blocking=True)
        yield tokens[0], tokens[1]


def train_sharded(args: argparse.Namespace, layout: Layout) -> None:
    """Every data-parallel rank keeps a part of each layer, which is gathered for use; each micro-batch's gradients are scattered."""
    model = Chunk(args, layout, 0).to_empty(device=layout.device)
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16)
    for part in (*model.layers, model):
        fully_shard(part, mp_policy=policy)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2.4e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    batches = micro_batches(args, layout.device)
    for _ in range(args.steps):
        for _ in range(args.micro_batches):
            model(*next(batches)).div(args.micro_batches).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def train(args: argparse.Namespace, layout: Layout) -> None:
    """Every rank has its weights whole; those of the optimizer are sharded."""
    chunks = nn.ModuleList(Chunk(args, layout, number) for number in range(args.vp))
    optimizer = ShardedOptimizer(chunks, layout, torch.bfloat16, torch.bfloat16 if args.float8 else torch.float32)
    shape = (args.seq_len // (args.cp * args.tp), args.micro_batch, args.dim)
    messages = Messages(layout, shape, torch.bfloat16, ring=args.vp > 1)
    pipeline = (Interleaved if args.vp > 1 else Pipeline)(list(chunks), messages, args.micro_batches)
    batches = micro_batches(args, layout.device)
    for _ in range(args.steps):
        optimizer.zero_grad()
        quantize_weights(chunks)
        pipeline.step(batches)
        optimizer.step()


def main() -> None:
    args = parse_args()
    layout = make_layout(args.tp, args.cp, args.pp)
    (train_sharded if args.fully_sharded else train)(args, layout)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
