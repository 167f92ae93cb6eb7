"""Copies between host and device: a device tensor that is not contiguous is made contiguous first (aten/src/ATen/native/cuda/Copy.cu)."""

from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, temporaries
from fakerun.device_memory.kernels.operands import Operands, is_dense


def _copy(operands: Operands, platform: Platform) -> KernelMemory:
    """`copy_requires_temporaries`: nothing where both are laid out alike, without gaps."""
    tensors = operands.tensors[:2]
    if len({tensor.on_host for tensor in tensors}) < 2:
        return NOTHING
    host, device = sorted(tensors, key=lambda tensor: not tensor.on_host)
    is_alike = device.strides == host.strides and is_dense(device)
    return NOTHING if device.strides is None or is_alike else temporaries(device.numel * device.element_bytes)


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {"copy_": _copy}
