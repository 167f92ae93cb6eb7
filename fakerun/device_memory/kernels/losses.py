"""Losses of each element that are reduced: aten/src/ATen/native/Loss.cpp and aten/src/ATen/native/cuda/Loss.cu."""

from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, Requests
from fakerun.device_memory.kernels.operands import Operands
from fakerun.device_memory.kernels.staged_reductions import staging

_FLOAT32_BYTES = 4
_NOT_REDUCED = 0


def _of_elements(operands: Operands, platform: Platform) -> KernelMemory:
    """The losses of all elements, and what their sum takes."""
    return _reduced(operands, platform, copies=1)


def _with_logits(operands: Operands, platform: Platform) -> KernelMemory:
    """A logarithm of the sigmoid beside the losses."""
    return _reduced(operands, platform, copies=2)


def _reduced(operands: Operands, platform: Platform, *, copies: int) -> KernelMemory:
    """The reduction is the last number if there is one, by default the mean."""
    tensor = operands.tensors[0]
    if operands.integers[-1:] == (_NOT_REDUCED,):
        return NOTHING
    requests = Requests(*(tensor.numel * tensor.element_bytes,) * copies)
    requests.during(staging(tensor, (), max(tensor.element_bytes, _FLOAT32_BYTES), platform))
    return requests.memory


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    **dict.fromkeys(("mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "binary_cross_entropy"), _of_elements),
    "binary_cross_entropy_with_logits": _with_logits,
}
