"""Which host operators run for real, and which would take too much host memory."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from fakerun.emulate.device.plain_tensors import META
from fakerun.emulate.device.signature import Signature
from fakerun.torch_private import OpOverload, disable_all_modes, pytree, schema_of

Wrap = Callable[[torch.Tensor, torch.device], Any]
"""Makes a simulated tensor on a device around a meta tensor."""


class HostPolicy:
    """Decides which host operators run for real.

    Host memory stays bounded: a tensor above the threshold that an operator would newly allocate on the host is simulated
    too, on device `cpu`. What exists already (a memory map, a numpy array) stays real.
    """

    THRESHOLD_BYTES = 16 * 2**20
    """Weights of large models are above this, batches and bookkeeping below."""
    INTEGER_THRESHOLD_BYTES = 256 * 2**20
    """The same for integers of 16 bits and more: no weights are, but files of tokens are read into them."""

    def run(self, wrap: Wrap, func: Any, args: Sequence[Any], kwargs: dict[str, Any], signature: Signature) -> Any:
        """The result of an operator none of whose tensors is simulated."""
        kwargs.pop("pin_memory", None)  # page-locked memory needs a driver; to the script it is ordinary memory
        device = kwargs.get("device")
        if (device is not None and device.type == "meta") or not _makes_tensors(func) or self._surely_small(func, signature):
            return func(*args, **kwargs)
        return self._measured(wrap, func, args, kwargs)

    def _surely_small(self, func: Any, signature: Signature) -> bool:
        """Whether the operator cannot make a large result of these tensors: at most the product of all sizes and numbers, 8 bytes each."""
        if not signature.real:
            return False
        largest_bytes = 8
        for tensor in signature.real:
            if tensor.device.type != "cpu":
                return True  # meta tensors of the script's own have no memory
            largest_bytes *= max(tensor.numel(), 1)
        if torch.Tag.pointwise not in getattr(func, "tags", ()):
            for number in signature.numbers():
                largest_bytes *= abs(number) + 1  # a number may be a size, or be added to one (padding)
        return largest_bytes <= self.THRESHOLD_BYTES

    def _measured(self, wrap: Wrap, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run the meta kernel first, to see how large the result would be."""
        if not isinstance(func, OpOverload) or func.is_view or schema_of(func).is_mutable:
            return func(*args, **kwargs)
        try:
            with disable_all_modes():
                shapes = func(
                    *pytree.tree_map_only(torch.Tensor, _as_meta, args),
                    **{**pytree.tree_map_only(torch.Tensor, _as_meta, kwargs), **_on_meta(func, kwargs)},
                )
        except Exception:
            return func(*args, **kwargs)
        outputs = [leaf for leaf in pytree.tree_leaves(shapes) if isinstance(leaf, torch.Tensor)]
        threshold_bytes = self.INTEGER_THRESHOLD_BYTES if all(map(_holds_wide_integers, outputs)) else self.THRESHOLD_BYTES
        if sum(output.numel() * output.element_size() for output in outputs) <= threshold_bytes:
            return func(*args, **kwargs)
        device = torch.device("cpu")
        return pytree.tree_map_only(torch.Tensor, lambda output: wrap(output, device), shapes)


@cache
def _makes_tensors(func: Any) -> bool:
    """Whether an operator returns tensors. The markers of a profiler do not."""
    return not isinstance(func, OpOverload) or any("Tensor" in str(result.type) for result in schema_of(func).returns)


def _holds_wide_integers(tensor: torch.Tensor) -> bool:
    """Quantised weights have 8 bits."""
    return not tensor.dtype.is_floating_point and not tensor.dtype.is_complex and tensor.element_size() > 1


def _as_meta(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=META)


def _on_meta(func: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The `device` keyword for a meta run of a factory or a copy."""
    takes_device = any(argument.name == "device" for argument in schema_of(func).arguments)
    return {"device": META} if takes_device else {}
