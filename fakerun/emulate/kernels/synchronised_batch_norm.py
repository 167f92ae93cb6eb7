"""Outputs of the kernels of SyncBatchNorm, which exist on CUDA only and have no meta kernel.

Signatures and result types are those of ATen/native/cuda/Normalization.cu (torch 2.13).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.mode import UNHANDLED, DeviceMode
from fakerun.torch_private import FakeTensor

aten = torch.ops.aten


def sync_batch_norm_kernels(context: EmulationContext) -> None:
    """Register the kernels."""
    kernels = {
        aten.batch_norm_stats.default: lambda x, eps: (_per_channel(x), _per_channel(x)),
        aten.batch_norm_gather_stats.default: lambda x, mean, *rest: (torch.empty_like(mean[0]), torch.empty_like(mean[0])),
        aten.batch_norm_gather_stats_with_counts.default: lambda x, mean, *rest: (_channels(mean), _channels(mean)),
        aten.batch_norm_elemt.default: lambda x, *rest: torch.empty_like(x),
        aten.batch_norm_backward_reduce.default: _backward_reduce,
        aten.batch_norm_backward_elemt.default: lambda gradient, x, *rest: torch.empty_like(x),
    }
    for operator, kernel in kernels.items():
        context.mode.handle_kernel(operator, _Simulated(context.mode, kernel))


class _Simulated:
    def __init__(self, mode: DeviceMode, kernel: Any) -> None:
        self._mode, self._kernel = mode, kernel

    def __call__(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if type(args[0]) is not FakeTensor or kwargs:
            return UNHANDLED
        with self._mode:
            return self._kernel(*args)


def _per_channel(x: torch.Tensor) -> torch.Tensor:
    """One fp32 value for each channel: CUDA accumulates lower precisions in fp32."""
    return torch.empty(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)


def _channels(stacked: torch.Tensor) -> torch.Tensor:
    return torch.empty(stacked.shape[-1], dtype=stacked.dtype, device=stacked.device)


def _backward_reduce(gradient: torch.Tensor, x: torch.Tensor, mean: torch.Tensor, invstd: torch.Tensor, weight: Any, *wanted: bool) -> Any:
    """`wanted` has a flag for each gradient that needs the sums: input, weight, bias."""
    for_x, for_weight, for_bias = wanted
    sums = (torch.empty_like(mean), torch.empty_like(mean)) if for_x else (None, None)
    return (*sums, torch.empty_like(weight) if for_weight else None, torch.empty_like(weight) if for_bias else None)
