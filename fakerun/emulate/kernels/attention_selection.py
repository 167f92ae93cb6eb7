"""Selects the kernel of scaled_dot_product_attention as CUDA does.

The rules are those of ATen/native/transformers/cuda/sdp_utils.cpp (torch 2.11 to 2.14): the first kernel in the order of priority that the
script allows and that can run. The order is the one that the script sets (`sdpa_kernel(..., set_priority=True)`). Without one, cuDNN comes
first on data-centre Hopper and Blackwell where torch's build has a cuDNN above 9.15, as its CUDA 13 wheels do, and those for CUDA 12 not;
elsewhere it comes after math, which takes everything.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend

from fakerun.emulate.device.library_versions import cudnn_version
from fakerun.hardware.accelerator import Accelerator
from fakerun.torch_private import are_algorithms_deterministic, attention_priority, set_attention_priority

_HALF = (torch.float16, torch.bfloat16)
_CUDNN_FIRST = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
_PREFERRED_ABOVE_CUDNN = 91500
"""Before 9.15.1 cuDNN was wrong for lengths that are no multiple of 128."""
_EFFICIENT_TAKES_GROUPED_QUERIES = torch.__version__ >= "2.14"
_CUDNN_TAKES_SIXTEENTHS_ONLY = torch.__version__ >= "2.14"
"""Whether cuDNN's kernel is left out for a dropout probability that is no multiple of 1/16."""
_FLASH_LARGEST_HEAD = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionCall:
    """The arguments that decide which kernel runs."""

    query: Any
    key: Any
    value: Any
    mask: Any = None
    dropout: float = 0.0
    is_causal: bool = False
    enable_gqa: bool = False

    @property
    def has_batches(self) -> bool:
        """Whether all operands are batches of heads of the same number, and none is empty."""
        tensors = (self.query, self.key, self.value)
        return all(tensor.dim() == 4 and 0 not in tensor.shape for tensor in tensors) and self.query.shape[0] == self.key.shape[0]

    @property
    def has_equal_heads(self) -> bool:
        return bool(self.query.shape[-1] == self.key.shape[-1] == self.value.shape[-1])


@contextmanager
def attention_priority_of(hardware: Accelerator) -> Iterator[None]:
    """Give the script the order of priority that torch has on this device, until the context ends."""
    before = attention_priority()
    if _prefers_cudnn(hardware):
        set_attention_priority([backend.value for backend in _CUDNN_FIRST])
    try:
        yield
    finally:
        set_attention_priority(before)


def _prefers_cudnn(hardware: Accelerator) -> bool:
    """Whether cuDNN comes first without an order of the script's own (`check_prefer_cudnn_attention`)."""
    if hardware.is_amd or os.environ.get("TORCH_CUDNN_SDPA_DEPRIORITIZED") == "1" or cudnn_version() <= _PREFERRED_ABOVE_CUDNN:
        return False
    major, minor = hardware.compute_capability
    return major in (9, 10) and (torch.__version__ >= "2.14" or minor in (0, 3))


def selected_kernel(call: AttentionCall, hardware: Accelerator) -> SDPBackend | None:
    """The kernel that takes the call; None if the script allows none that can."""
    for number in attention_priority():
        backend = SDPBackend(number)
        fits = _FITS.get(backend)
        if fits is not None and fits(call, hardware):
            return backend
    return None


def _flash_fits(call: AttentionCall, hardware: Accelerator) -> bool:
    if not torch.backends.cuda.flash_sdp_enabled() or call.mask is not None or not call.has_batches:
        return False
    if call.query.dtype not in _HALF or hardware.compute_capability < (8, 0):
        return False
    if not call.has_equal_heads or call.query.shape[-1] > _FLASH_LARGEST_HEAD:
        return False
    return not (call.is_causal and call.query.shape[-2] != call.key.shape[-2])


def _efficient_fits(call: AttentionCall, hardware: Accelerator) -> bool:
    if not torch.backends.cuda.mem_efficient_sdp_enabled() or not call.has_batches:
        return False
    query, key, value = call.query, call.key, call.value
    dtypes = (torch.float32, torch.float16) if hardware.compute_capability < (8, 0) else (torch.float32, *_HALF)
    if query.dtype not in dtypes or hardware.compute_capability < (5, 0):
        return False
    grouped = call.enable_gqa and _EFFICIENT_TAKES_GROUPED_QUERIES and query.shape[1] % key.shape[1] == 0
    if not (grouped or query.shape[1] == key.shape[1]):
        return False
    rows_aligned = all(tensor.shape[-1] * tensor.element_size() % 16 == 0 for tensor in (query, value))
    return bool(query.shape[-1] == key.shape[-1] and rows_aligned)


def _math_fits(call: AttentionCall, hardware: Accelerator) -> bool:
    return bool(torch.backends.cuda.math_sdp_enabled())


def _cudnn_fits(call: AttentionCall, hardware: Accelerator) -> bool:
    """`can_use_cudnn_attention`, for the versions of cuDNN from 9.10 on."""
    if not torch.backends.cuda.cudnn_sdp_enabled() or hardware.is_amd or not call.has_batches:
        return False
    if call.query.dtype not in _HALF or not (8, 0) <= hardware.compute_capability <= (12, 1):
        return False
    if are_algorithms_deterministic() and not torch.is_deterministic_algorithms_warn_only_enabled():
        return False
    return _cudnn_takes_heads(call, hardware.compute_capability) and _cudnn_takes_lengths(call)


def _cudnn_takes_heads(call: AttentionCall, capability: tuple[int, int]) -> bool:
    grouped = call.query.shape[1] % call.key.shape[1] == 0 if call.enable_gqa else call.query.shape[1] == call.key.shape[1]
    heads = (call.query.shape[-1], call.value.shape[-1])
    largest = 256 if capability == (9, 0) else 192 if capability[0] == 10 and heads == (192, 128) else 128
    return grouped and all(head % 8 == 0 and head <= largest for head in heads)


def _cudnn_takes_lengths(call: AttentionCall) -> bool:
    if call.key.shape[2] == 1 or (call.query.shape[2] == 1 and call.dropout):
        return False
    if _CUDNN_TAKES_SIXTEENTHS_ONLY and call.dropout * 16 % 1:
        return False
    return not (call.dropout and 91100 < cudnn_version() < 91400)


_FITS: Mapping[SDPBackend, Callable[[AttentionCall, Accelerator], bool]] = {
    SDPBackend.FLASH_ATTENTION: _flash_fits,
    SDPBackend.EFFICIENT_ATTENTION: _efficient_fits,
    SDPBackend.MATH: _math_fits,
    SDPBackend.CUDNN_ATTENTION: _cudnn_fits,
}
