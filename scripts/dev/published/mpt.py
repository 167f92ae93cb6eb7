"""Train an MPT model with FSDP1 as llm-foundry of 2023 did, in plain PyTorch: its shapes, its attention, its micro-batches.

torchrun --nproc-per-node 8 scripts/dev/published/mpt.py --model 7b --micro-batch 6 --micro-batches 2
"""

import argparse
import functools
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, apply_activation_checkpointing, checkpoint_wrapper
from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.nn import functional


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a model; all have 50,368 tokens and a hidden layer of four times their width."""

    dim: int
    heads: int
    layers: int


SHAPES = {
    "125m": Shape(dim=768, heads=12, layers=12),
    "350m": Shape(dim=1024, heads=16, layers=24),
    "760m": Shape(dim=1536, heads=12, layers=24),
    "1b": Shape(dim=2048, heads=16, layers=24),
    "3b": Shape(dim=2560, heads=20, layers=32),
    "7b": Shape(dim=4096, heads=32, layers=32),
    "13b": Shape(dim=5120, heads=40, layers=40),
    "30b": Shape(dim=7168, heads=56, layers=48),
}
"""The YAML files of llm-foundry, scripts/train/yamls/pretrain."""
VOCABULARY = 50_368


class Block(nn.Module):
    """Attention and the hidden layer, each after a norm in the activations' dtype; no biases."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.norm_1 = nn.LayerNorm(shape.dim, bias=False)
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim, bias=False)
        self.out = nn.Linear(shape.dim, shape.dim, bias=False)
        self.norm_2 = nn.LayerNorm(shape.dim, bias=False)
        self.up = nn.Linear(shape.dim, 4 * shape.dim, bias=False)
        self.down = nn.Linear(4 * shape.dim, shape.dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, seq, dim = x.shape
        query, key, value = self.qkv(low_precision(self.norm_1, x)).view(batch, seq, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, seq, dim))
        return x + self.down(functional.gelu(self.up(low_precision(self.norm_2, x))))  # type: ignore[no-any-return]


def allocate(module: nn.Module, device: torch.device) -> None:
    module.to_empty(device=device, recurse=False)


def low_precision(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """The norm outside autocast, which would make it float32: llm-foundry's default."""
    with torch.autocast("cuda", enabled=False):
        return functional.layer_norm(x.bfloat16(), norm.normalized_shape, norm.weight.bfloat16(), None, norm.eps)


class Mpt(nn.Module):
    """Tokens (batch, seq) in, logits out; the output head is the embedding."""

    def __init__(self, shape: Shape, seq_len: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, shape.dim)
        self.positions = nn.Embedding(seq_len, shape.dim)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for block in self.blocks:
            x = block(x)
        return functional.linear(low_precision(self.norm, x), self.tokens.weight)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train an MPT model with FSDP1.")
    parser.add_argument("--model", choices=SHAPES, default="1b")
    parser.add_argument("--seq-len", type=int, default=2048)
    parser.add_argument("--micro-batch", type=int, default=1, help="sequences")
    parser.add_argument("--micro-batches", type=int, default=1, help="per step")
    parser.add_argument("--checkpoint", action="store_true", help="recompute every block in backward")
    parser.add_argument("--steps", type=int, default=10)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    dist.init_process_group("nccl")
    shape = SHAPES[args.model]
    with torch.device("meta"):
        model: nn.Module = Mpt(shape, args.seq_len)
    model = FullyShardedDataParallel(
        model,
        auto_wrap_policy=ModuleWrapPolicy({Block}),
        mixed_precision=MixedPrecision(param_dtype=torch.bfloat16, reduce_dtype=torch.bfloat16, buffer_dtype=torch.bfloat16),
        param_init_fn=functools.partial(allocate, device=device),
        device_id=device,
        limit_all_gathers=True,
        use_orig_params=True,
    )
    if args.checkpoint:
        wrapper = functools.partial(checkpoint_wrapper, checkpoint_impl=CheckpointImpl.REENTRANT)
        apply_activation_checkpointing(model, checkpoint_wrapper_fn=wrapper, check_fn=lambda module: isinstance(module, Block))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(args.steps):
        for _ in range(args.micro_batches):
            tokens = torch.randint(VOCABULARY, (args.micro_batch, args.seq_len)).to(device, non_blocking=True)
            with torch.autocast("cuda", torch.bfloat16):
                logits = model(tokens)
                loss = functional.cross_entropy(logits.flatten(0, 1), tokens.roll(-1, 1).flatten())
            (loss / args.micro_batches).backward()
        model.clip_grad_norm_(1.0)
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
