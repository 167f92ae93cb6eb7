"""Fused attention by backend, shape, mask and dropout."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from dev.gpu.kernel_calls.call import Call, b, call, g, module, t
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

HALF, BF16, F32 = torch.float16, torch.bfloat16, torch.float32
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}

_SHAPES = ((1, 8192, 32, 128), (2, 4096, 16, 64), (8, 1024, 12, 64))
_SHAPES_OF_MATH = ((2, 512, 8, 64), (1, 2048, 16, 128), (4, 1024, 12, 64))


def _only(backend: str) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: sdpa_kernel(BACKENDS[backend])


def _deterministic(backend: str) -> Callable[[], AbstractContextManager[Any]]:
    @contextmanager
    def context() -> Iterator[None]:
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            with sdpa_kernel(BACKENDS[backend]):
                yield
        finally:
            torch.use_deterministic_algorithms(False)

    return context


def _heads_first(
    batch: int, queries: int, heads: int, head: int, *, keys: int | None = None, key_heads: int | None = None, dtype: torch.dtype = BF16
) -> tuple[Any, Any, Any]:
    """Queries, keys and values as a model makes them: [batch, length, heads, head], transposed."""
    key = (batch, keys or queries, key_heads or heads, head)
    options: dict[str, Any] = {"dtype": dtype, "view": lambda x: x.transpose(1, 2), "note": "t"}
    return g(batch, queries, heads, head, **options), g(*key, **options), g(*key, **options)


def _transposed_back(*args: Any, **options: Any) -> torch.Tensor:
    """As a model goes on: the gradient that comes back is that of [batch, length, heads * head]."""
    return scaled_dot_product_attention(*args, **options).transpose(1, 2).flatten(2)


def attention() -> Iterator[Call]:
    yield from _backends("flash", "efficient", "math")
    yield from _modules()


def attention_of_cudnn() -> Iterator[Call]:
    """CuDNN compiles a graph for each shape, which takes long."""
    yield from _backends("cudnn")


def _backends(*backends: str) -> Iterator[Call]:
    for backend in backends:
        context = _only(backend)
        for shape in _SHAPES_OF_MATH if backend == "math" else _SHAPES:
            for causal in (True, False):
                yield call(f"sdpa {backend}", _transposed_back, *_heads_first(*shape), is_causal=causal, backward=True, context=context)
        for head in (16, 32, 64, 80, 96, 128, 160, 192, 256):
            yield call(f"sdpa {backend}", _transposed_back, *_heads_first(2, 512, 4, head), is_causal=True, backward=True, context=context)
        for length in (1, 7, 100, 129, 200, 1000):
            yield call(f"sdpa {backend}", _transposed_back, *_heads_first(2, length, 4, 64), backward=True, context=context)
        for queries, keys in ((1, 1024), (1, 8192), (64, 4096), (128, 77), (300, 1500)):
            options = _heads_first(1, queries, 8, 128, keys=keys)
            yield call(f"sdpa {backend}", _transposed_back, *options, backward=True, context=context)
        yield call(
            f"sdpa {backend} gqa",
            _transposed_back,
            *_heads_first(1, 2048, 32, 128, key_heads=8),
            is_causal=True,
            enable_gqa=True,
            backward=True,
            context=context,
        )
        yield call(
            f"sdpa {backend} gqa",
            _transposed_back,
            *_heads_first(2, 500, 8, 64, key_heads=1),
            enable_gqa=True,
            backward=True,
            context=context,
        )
        yield call(f"sdpa {backend} dropout", _transposed_back, *_heads_first(2, 512, 8, 64), dropout_p=0.1, backward=True, context=context)
        yield call(
            f"sdpa {backend} deterministic",
            _transposed_back,
            *_heads_first(2, 1024, 8, 64),
            is_causal=True,
            backward=True,
            context=_deterministic(backend),
        )
        yield call(
            f"sdpa {backend} deterministic",
            _transposed_back,
            *_heads_first(1, 2048, 32, 128),
            backward=True,
            context=_deterministic(backend),
        )
        yield call(
            f"sdpa {backend} contiguous",
            scaled_dot_product_attention,
            *(g(2, 8, 512, 64) for _ in range(3)),
            is_causal=True,
            backward=True,
            context=context,
        )
        yield call(f"sdpa {backend} contiguous", scaled_dot_product_attention, *(g(2, 8, 512, 64) for _ in range(3)), context=context)
        yield call(f"sdpa {backend} no gradient", scaled_dot_product_attention, *(t(2, 8, 512, 64) for _ in range(3)), context=context)
        yield call(
            f"sdpa {backend} no gradient", scaled_dot_product_attention, *(t(1, 32, n, 128) for n in (1, 4096, 4096)), context=context
        )
        yield call(f"sdpa {backend}", _transposed_back, *_heads_first(2, 512, 8, 64, dtype=HALF), backward=True, context=context)
        if backend != "flash":
            mask = t(2, 1, 512, 512)
            yield call(
                f"sdpa {backend} mask", _transposed_back, *_heads_first(2, 512, 8, 64), attn_mask=mask, backward=True, context=context
            )
            yield call(
                f"sdpa {backend} mask",
                _transposed_back,
                *_heads_first(2, 512, 8, 64),
                attn_mask=b(2, 1, 512, 512),
                backward=True,
                context=context,
            )
            yield call(
                f"sdpa {backend} mask",
                _transposed_back,
                *_heads_first(2, 100, 8, 64),
                attn_mask=b(100, 100),
                backward=True,
                context=context,
            )
        if backend in ("efficient", "math"):
            for head in (64, 128, 256):
                yield call(f"sdpa {backend}", _transposed_back, *_heads_first(2, 512, 8, head, dtype=F32), backward=True, context=context)
            yield call(
                f"sdpa {backend} mask gradient",
                _transposed_back,
                *_heads_first(2, 512, 8, 64),
                attn_mask=g(2, 8, 512, 512),
                backward=True,
                context=context,
            )


def _modules() -> Iterator[Call]:
    for dtype in (BF16, F32):
        encoder = module("MultiheadAttention 512 8", lambda: torch.nn.MultiheadAttention(512, 8, batch_first=True), dtype)
        x = g(4, 256, 512, dtype=dtype)
        yield call("MultiheadAttention", lambda m, x: m(x, x, x, need_weights=False)[0], encoder, x, backward=True)
        yield call("MultiheadAttention weights", lambda m, x: m(x, x, x)[0], encoder, x, backward=True)
        layer = module("TransformerEncoderLayer 512 8", lambda: torch.nn.TransformerEncoderLayer(512, 8, batch_first=True), dtype)
        yield call("TransformerEncoderLayer", lambda m, x: m(x), layer, x, backward=True)
        yield call("TransformerEncoderLayer eval", lambda m, x: m.eval()(x), layer, t(4, 256, 512, dtype=dtype))
        decoder = module("TransformerDecoderLayer 512 8", lambda: torch.nn.TransformerDecoderLayer(512, 8, batch_first=True), dtype)
        yield call("TransformerDecoderLayer", lambda m, x, y: m(x, y), decoder, x, g(4, 100, 512, dtype=dtype), backward=True)
