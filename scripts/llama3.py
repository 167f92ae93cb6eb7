"""Llama 3 in a short form: the model of the training scripts in this directory.

Plain PyTorch. The model does not depend on how it is distributed, with two exceptions for sharding: attention derives its number of heads
from the width of its projections (under tensor parallelism a rank holds only some of them), and `init_weights` initialises the weights, so
that a model can be built on the meta device, sharded, and only then allocated and initialised.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.utils.checkpoint import CheckpointPolicy, SelectiveCheckpointContext, create_selective_checkpoint_contexts


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The sizes of a Llama 3 model."""

    dim: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn_dim: int
    vocab: int
    rope_theta: float = 500_000.0
    norm_eps: float = 1e-5


SHAPES = {
    "debug": Shape(dim=64, layers=2, heads=8, kv_heads=4, head_dim=8, ffn_dim=160, vocab=256),
    # Few of its dimensions divide evenly over ranks, and some have fewer rows than a world of four has ranks.
    "uneven": Shape(dim=30, layers=3, heads=6, kv_heads=2, head_dim=8, ffn_dim=6, vocab=131),
    "small": Shape(dim=256, layers=8, heads=8, kv_heads=4, head_dim=32, ffn_dim=1024, vocab=4096),
    "1b": Shape(dim=2048, layers=16, heads=32, kv_heads=8, head_dim=64, ffn_dim=8192, vocab=128_256),
    "8b": Shape(dim=4096, layers=32, heads=32, kv_heads=8, head_dim=128, ffn_dim=14_336, vocab=128_256),
    "70b": Shape(dim=8192, layers=80, heads=64, kv_heads=8, head_dim=128, ffn_dim=28_672, vocab=128_256),
    "405b": Shape(dim=16_384, layers=126, heads=128, kv_heads=8, head_dim=128, ffn_dim=53_248, vocab=128_256),
}
"""Shapes by name. `1b` has the shape of Llama 3.2 1B with a separate output head, where the original reuses the embedding."""


def rope_table(shape: Shape, seq_len: int, device: torch.device | None = None) -> Tensor:
    """Cosine and sine of every position's rotation angles, as a real tensor (seq_len, head_dim / 2, 2)."""
    exponents = torch.arange(0, shape.head_dim, 2, dtype=torch.float32, device=device) / shape.head_dim
    angles = torch.outer(torch.arange(seq_len, dtype=torch.float32, device=device), shape.rope_theta**-exponents)
    return torch.stack((angles.cos(), angles.sin()), dim=-1)


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate pairs of features of `x` (batch, seq, heads, head_dim) by `rope` (seq, head_dim / 2), complex, in float32."""
    pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * rope[:, None, :]).flatten(-2).type_as(x)


class Attention(nn.Module):
    """Causal self-attention; each key and value head is shared by several query heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.head_dim = shape.head_dim
        self.wq = nn.Linear(shape.dim, shape.heads * shape.head_dim, bias=False)
        self.wk = nn.Linear(shape.dim, shape.kv_heads * shape.head_dim, bias=False)
        self.wv = nn.Linear(shape.dim, shape.kv_heads * shape.head_dim, bias=False)
        self.wo = nn.Linear(shape.heads * shape.head_dim, shape.dim, bias=False)

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        # -1 heads: as many as this rank's part of the projection has.
        q, k, v = (w(x).view(*x.shape[:2], -1, self.head_dim) for w in (self.wq, self.wk, self.wv))
        q, k = rotate(q, rope), rotate(k, rope)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.wo(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.w1 = nn.Linear(shape.dim, shape.ffn_dim, bias=False)
        self.w2 = nn.Linear(shape.ffn_dim, shape.dim, bias=False)
        self.w3 = nn.Linear(shape.dim, shape.ffn_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(nn.functional.silu(self.w1(x)) * self.w3(x))  # type: ignore[no-any-return]


class Block(nn.Module):
    """One transformer layer, normalised before each half."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)
        self.attention = Attention(shape)
        self.ffn_norm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)
        self.feed_forward = FeedForward(shape)

    def forward(self, x: Tensor, rope: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope)
        return x + self.feed_forward(self.ffn_norm(x))  # type: ignore[no-any-return]


class Llama3(nn.Module):
    """The whole model: tokens (batch, seq) in, logits (batch, seq, vocab) out."""

    rope: Tensor

    def __init__(self, shape: Shape, seq_len: int) -> None:
        super().__init__()
        self.shape, self.seq_len = shape, seq_len
        self.tok_embeddings = nn.Embedding(shape.vocab, shape.dim)
        self.register_buffer("rope", rope_table(shape, seq_len), persistent=False)
        self.layers = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.dim, eps=shape.norm_eps)
        self.output = nn.Linear(shape.dim, shape.vocab, bias=False)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Initialise every parameter and buffer in place, on any device and with any sharding."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            elif isinstance(module, nn.RMSNorm):
                nn.init.ones_(module.weight)
        self.rope.copy_(rope_table(self.shape, self.seq_len, self.rope.device))

    def forward(self, tokens: Tensor) -> Tensor:
        # The buffer is real and becomes complex only here. DDP broadcasts buffers, and not every backend sends complex numbers. FSDP's
        # mixed precision casts a block's floating-point arguments to bfloat16, too coarse for angles, and leaves complex ones alone.
        # It is as long as the sequence, of which `tokens` (activations, on a later stage of a pipeline) may be a part.
        rope = torch.view_as_complex(self.rope)
        x = self.tok_embeddings(tokens)
        for layer in self.layers:
            x = layer(x, rope)
        return self.output(self.norm(x))  # type: ignore[no-any-return]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean loss over all tokens, computed in float32 for any dtype of the model."""
    return nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


# Selective checkpointing keeps the outputs of these expensive operations and recomputes the others.
SAVED_OPERATIONS = {
    torch.ops.aten.mm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,  # noqa: SLF001
    torch.ops.aten._scaled_dot_product_efficient_attention.default,  # noqa: SLF001
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,  # noqa: SLF001
    torch.ops._c10d_functional.reduce_scatter_tensor.default,  # noqa: SLF001
}


def selective_contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    """Contexts for a checkpoint that keeps the outputs of SAVED_OPERATIONS, but only of every second matrix multiplication."""
    matmuls = {False: 0, True: 0}  # count so far, in the forward and in the recomputation

    def policy(context: SelectiveCheckpointContext, operation: object, *args: object, **kwargs: object) -> CheckpointPolicy:
        if operation == torch.ops.aten.mm.default:
            matmuls[context.is_recompute] += 1
            if matmuls[context.is_recompute] % 2 == 0:
                return CheckpointPolicy.PREFER_RECOMPUTE
        return CheckpointPolicy.MUST_SAVE if operation in SAVED_OPERATIONS else CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(policy)  # type: ignore[no-any-return]


def checkpoint_activations(model: Llama3, mode: str) -> None:
    """Recompute every block's activations in backward: all of them (`full`), the cheap ones (`selective`), or nothing (`none`)."""
    if mode == "none":
        return
    options: dict[str, Any] = {"context_fn": selective_contexts} if mode == "selective" else {}
    for index, block in enumerate(model.layers):
        # There is no dropout, so no state of the random generator to save and restore around the recomputation.
        model.layers[index] = checkpoint_wrapper(block, preserve_rng_state=False, **options)
