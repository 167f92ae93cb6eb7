"""Runs scaled_dot_product_attention with the kernel that CUDA selects.

torch asks the device for its choice in C++, and the device type that C++ sees has none: attention would fall back to the math kernel,
whose S x S matrices dominate memory. The kernels keep the same for backward (the output and one fp32 log-sum-exp per query), but they are
operators of different names: a list of operators that selective checkpointing saves has them or not.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.mode import DeviceMode
from fakerun.emulate.kernels.attention_selection import AttentionCall, attention_priority_of, selected_kernel
from fakerun.errors import as_script_error
from fakerun.torch_private import unregister

aten = torch.ops.aten

_KEYS = ("AutogradCUDA", "AutogradLazy")
"""Simulated tensors have the first key. Wrappers around them (DTensor) have the key of the device type that C++ sees."""

_ALIGNMENT = 8
"""Flash attention pads the head dimension to a multiple of this; the efficient kernel needs 16-byte rows."""
_MASK_ALIGNMENT = 16


@contextmanager
def simulated_attention(context: EmulationContext) -> Iterator[None]:
    """Answer scaled_dot_product_attention until the context ends."""
    mode, hardware = context.mode, context.job.hardware

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
        call = AttentionCall(
            query=query, key=key, value=value, mask=attn_mask, dropout=dropout_p, is_causal=is_causal, enable_gqa=enable_gqa
        )
        kernel = selected_kernel(call, hardware)
        if kernel is None:
            raise as_script_error(RuntimeError("No available kernel. Aborting execution."))
        if kernel == SDPBackend.FLASH_ATTENTION:
            return _flash(query, key, value, dropout_p, is_causal, scale)
        if kernel == SDPBackend.EFFICIENT_ATTENTION:
            return _efficient(query, key, value, attn_mask, dropout_p, is_causal, scale)
        if kernel == SDPBackend.CUDNN_ATTENTION:
            return _cudnn(query, key, value, attn_mask, dropout_p, is_causal, scale)
        math_kernel = aten._scaled_dot_product_attention_math
        return math_kernel(query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa)[0]

    library = torch.library.Library("aten", "IMPL")
    operator = aten.scaled_dot_product_attention.default
    for key in _KEYS:
        library.impl(operator, attention, key)
    # Under inference mode there is no autograd: the operator arrives at the dispatch mode whole.
    mode.handle(operator, lambda func, args, kwargs: _entered(mode, attention, args, kwargs))
    try:
        with attention_priority_of(hardware):
            yield
    finally:
        unregister(library)


def _entered(mode: DeviceMode, attention: Any, args: Any, kwargs: Any) -> Any:
    with mode:
        return attention(*args, **kwargs)


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
