"""rms_norm as torch composed it before 2.9, of several operators, each with its temporaries and what it keeps for backward."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fakerun.emulate.context import EmulationContext
from fakerun.job.torch_behaviour import TorchBehaviour

_Norm: TypeAlias = Callable[[Tensor, tuple[int, ...], Tensor | None, float | None], Tensor]


def composed_norm(context: EmulationContext) -> None:
    """Answer rms_norm on a device as the torch does whose behaviour the job asks for, if that composed it."""
    composed = None if context.job.torch_behaviour is None else _COMPOSED[context.job.torch_behaviour]
    if composed is None:
        return

    def answer(input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None) -> Tensor:
        return composed(input, tuple(range(-len(normalized_shape), 0)), weight, eps)

    def norm(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        given = args[0] if args else kwargs["input"]
        return answer(*args, **kwargs) if given.device.type == "cuda" else func(*args, **kwargs)

    context.functions.handle(torch, "rms_norm", norm)


def _inverse(wide: Tensor, dims: tuple[int, ...], eps: float | None) -> Tensor:
    return torch.rsqrt(wide.pow(2).mean(dims, keepdim=True).add_(torch.finfo(wide.dtype).eps if eps is None else eps))


def _in_own_dtype(x: Tensor, dims: tuple[int, ...], weight: Tensor | None, eps: float | None) -> Tensor:
    """2.5."""
    result = x * _inverse(x, dims, eps)
    return result if weight is None else result * weight


def _weighted_after_cast(x: Tensor, dims: tuple[int, ...], weight: Tensor | None, eps: float | None) -> Tensor:
    """2.6."""
    wide = _widened(x)
    result = (wide * _inverse(wide, dims, eps)).type_as(x)
    if weight is not None:
        result = result * weight
    return result


def _weighted_before_cast(x: Tensor, dims: tuple[int, ...], weight: Tensor | None, eps: float | None) -> Tensor:
    """2.7 and 2.8: names of the inner function end before the cast."""

    def normed() -> Tensor:
        wide = _widened(x)
        result = wide * _inverse(wide, dims, eps)
        if weight is not None:
            result = result * weight
        return result

    return normed().type_as(x)


def _widened(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


_COMPOSED: Mapping[TorchBehaviour, _Norm] = {
    TorchBehaviour.V2_5: _in_own_dtype,
    TorchBehaviour.V2_6: _weighted_after_cast,
    TorchBehaviour.V2_7: _weighted_before_cast,
    TorchBehaviour.V2_8: _weighted_before_cast,
}
