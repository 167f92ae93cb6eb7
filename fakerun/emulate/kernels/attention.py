"""Chooses the kernel of scaled_dot_product_attention as CUDA does.

torch asks the device for its choice in C++, and the device type that C++ sees has none: attention would fall back to the math kernel,
whose S x S matrices dominate memory. The rules are those of ATen/native/transformers/cuda/sdp_utils.cpp (torch 2.13).

On data-centre Hopper and Blackwell torch tries cuDNN's kernel first. It takes as much memory as flash and
efficient attention (output and one fp32 log-sum-exp per query) and is simulated by them, except where only cuDNN's is fused: grouped
queries with a mask.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.mode import DeviceMode
from fakerun.errors import as_script_error
from fakerun.torch_private import unregister

aten = torch.ops.aten

_KEYS = ("AutogradCUDA", "AutogradLazy")
"""Simulated tensors have the first key. Wrappers around them (DTensor) have the key of the device type that C++ sees."""

_HALF = (torch.float16, torch.bfloat16)
_CUDNN_FIRST = ((9, 0), (10, 0))
"""Compute capabilities on which torch tries cuDNN's kernel before the others; elsewhere it comes after math, which takes everything."""

_EFFICIENT_TAKES_GROUPED_QUERIES = torch.__version__ >= "2.14"
_FLASH_LARGEST_HEAD = 256
_ALIGNMENT = 8
"""Flash attention pads the head dimension to a multiple of this; the efficient kernel needs 16-byte rows."""
_MASK_ALIGNMENT = 16


@contextmanager
def simulated_attention(context: EmulationContext) -> Iterator[None]:
    """Answer scaled_dot_product_attention until the context ends."""
    mode, capability = context.mode, context.job.hardware.compute_capability

    def attention(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        if attn_mask is not None and attn_mask.dtype is torch.bool:
            attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill_(attn_mask.logical_not(), -math.inf)
        if _flash_fits(query, key, value, attn_mask, is_causal, capability):
            return _flash(query, key, value, dropout_p, is_causal, scale)
        if _efficient_fits(query, key, value, enable_gqa, capability):
            return _efficient(query, key, value, attn_mask, dropout_p, is_causal, scale)
        if (capability in _CUDNN_FIRST or not torch.backends.cuda.math_sdp_enabled()) and _cudnn_fits(query, key, value, capability):
            return _cudnn(query, key, value, attn_mask, dropout_p, is_causal, scale)
        if not torch.backends.cuda.math_sdp_enabled():
            raise as_script_error(RuntimeError("No available kernel. Aborting execution."))
        math_kernel = aten._scaled_dot_product_attention_math
        return math_kernel(query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa)[0]

    library = torch.library.Library("aten", "IMPL")
    operator = aten.scaled_dot_product_attention.default
    for key in _KEYS:
        library.impl(operator, attention, key)
    # Under inference mode there is no autograd: the operator arrives at the dispatch mode whole.
    mode.handle(operator, lambda func, args, kwargs: _entered(mode, attention, args, kwargs))
    try:
        yield
    finally:
        unregister(library)


def _entered(mode: DeviceMode, attention: Any, args: Any, kwargs: Any) -> Any:
    with mode:
        return attention(*args, **kwargs)


def _flash_fits(query: Any, key: Any, value: Any, mask: Any, is_causal: bool, capability: tuple[int, int]) -> bool:
    if not torch.backends.cuda.flash_sdp_enabled() or mask is not None or query.dim() != 4:
        return False
    if query.dtype not in _HALF or capability < (8, 0):
        return False
    if query.shape[-1] != key.shape[-1] or query.shape[-1] != value.shape[-1] or query.shape[-1] > _FLASH_LARGEST_HEAD:
        return False
    if 0 in query.shape or 0 in key.shape or query.shape[0] != key.shape[0]:
        return False
    return not (is_causal and query.shape[-2] != key.shape[-2])


def _efficient_fits(query: Any, key: Any, value: Any, enable_gqa: bool, capability: tuple[int, int]) -> bool:
    if not torch.backends.cuda.mem_efficient_sdp_enabled() or query.dim() != 4:
        return False
    dtypes = (torch.float32, torch.float16) if capability < (8, 0) else (torch.float32, torch.float16, torch.bfloat16)
    if query.dtype not in dtypes or capability < (5, 0) or 0 in query.shape or 0 in key.shape:
        return False
    grouped = enable_gqa and _EFFICIENT_TAKES_GROUPED_QUERIES and query.shape[1] % key.shape[1] == 0
    if query.shape[0] != key.shape[0] or not (grouped or query.shape[1] == key.shape[1]):
        return False
    rows_aligned = all(tensor.shape[-1] * tensor.element_size() % 16 == 0 for tensor in (query, value))
    return bool(query.shape[-1] == key.shape[-1] and rows_aligned)


def _cudnn_fits(query: Any, key: Any, value: Any, capability: tuple[int, int]) -> bool:
    if not torch.backends.cuda.cudnn_sdp_enabled() or query.dim() != 4 or query.dtype not in _HALF or capability < (8, 0):
        return False
    if 0 in query.shape or 0 in key.shape or query.shape[0] != key.shape[0] or query.shape[1] % key.shape[1] != 0:
        return False
    largest = 256 if capability == (9, 0) else 128
    return all(tensor.shape[-1] % 8 == 0 and tensor.shape[-1] <= largest for tensor in (query, key, value))


def _flash(query: Any, key: Any, value: Any, dropout: float, is_causal: bool, scale: float | None) -> Any:
    head = query.shape[-1]
    scale = 1.0 / math.sqrt(head) if scale is None else scale
    missing = -head % _ALIGNMENT
    if missing:
        query, key, value = (torch.nn.functional.pad(tensor, (0, missing)) for tensor in (query, key, value))
    output = aten._scaled_dot_product_flash_attention(query, key, value, dropout, is_causal, False, scale=scale)[0]
    return output[..., :head] if missing else output


def _efficient(query: Any, key: Any, value: Any, mask: Any, dropout: float, is_causal: bool, scale: float | None) -> Any:
    if mask is not None:
        mask = _whole(_aligned(mask), query, key)
    kernel = aten._scaled_dot_product_efficient_attention
    return kernel(query, key, value, mask, _differentiable(query, key, value), dropout, is_causal, scale=scale)[0]


def _cudnn(query: Any, key: Any, value: Any, mask: Any, dropout: float, is_causal: bool, scale: float | None) -> Any:
    if mask is not None:
        mask = _whole(mask, query, key)
    kernel = aten._scaled_dot_product_cudnn_attention
    return kernel(query, key, value, mask, _differentiable(query, key, value), dropout, is_causal, False, scale=scale)[0]


def _differentiable(*tensors: Any) -> bool:
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _whole(mask: Any, query: Any, key: Any) -> Any:
    return mask.expand(query.shape[0], query.shape[1], query.shape[2], key.shape[2])


def _aligned(mask: Any) -> Any:
    """The efficient kernel reads mask rows in aligned pieces. A mask that is not aligned is copied with padded rows."""
    if all(stride % _ALIGNMENT == 0 for stride in mask.stride()[:-1]) and mask.stride(-1) == 1:
        return mask
    length = mask.shape[-1]
    padded = torch.nn.functional.pad(mask, (0, _MASK_ALIGNMENT - length % _MASK_ALIGNMENT))
    return padded[..., :length]
