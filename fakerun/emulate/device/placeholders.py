"""Placeholders for unknown values, as documented: float 1.0, int 1, bool False."""

from typing import Any

import torch


def placeholder_value(dtype: torch.dtype) -> Any:
    """The placeholder for an unknown value of this dtype."""
    if dtype is torch.bool:
        return False
    return 1.0 if dtype.is_floating_point or dtype.is_complex else 1


def placeholder_tensor(like: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A real host tensor of placeholders: the shape of `like`, its dtype or the one given."""
    dtype = dtype or like.dtype
    return torch.full(like.shape, placeholder_value(dtype), dtype=dtype, device="cpu")
