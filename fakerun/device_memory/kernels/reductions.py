"""Norms of tensors and gradients of normalisations: partial results that a second kernel sums.

aten/src/ATen/native/cuda/ForeachReduceOp.cu, layer_norm_kernel.cu and group_norm_kernel.cu.
"""

from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, temporaries
from fakerun.device_memory.kernels.operands import Operands

_CHUNK = 65536
"""Elements that one block of a multi-tensor kernel reads (MultiTensorApply.cuh)."""
_FLOAT32_BYTES = 4
_MANY_ROWS = 64 * 1024
_ROWS_OF_A_BLOCK = 32
_MOST_BLOCKS = 32 * 1024


def _foreach_reduction(operands: Operands, platform: Platform) -> KernelMemory:
    """`foreach_tensor_norm_cuda`: a partial norm for each chunk of the largest tensor, for every tensor."""
    tensors = operands.tensor_lists[0] if operands.tensor_lists else ()
    if not tensors or len({tensor.dtype for tensor in tensors}) > 1:
        return NOTHING
    chunks = max(-(-tensor.numel // _CHUNK) for tensor in tensors)
    return temporaries(len(tensors) * chunks * max(tensors[0].element_bytes, _FLOAT32_BYTES))


def _foreach_maximum(operands: Operands, platform: Platform) -> KernelMemory:
    tensors = operands.tensor_lists[0] if operands.tensor_lists else ()
    chunks = max((-(-tensor.numel // _CHUNK) for tensor in tensors), default=0)
    return temporaries(len(tensors) * chunks * tensors[0].element_bytes) if tensors else NOTHING


def _layer_norm_backward(operands: Operands, platform: Platform) -> KernelMemory:
    """`LaunchGammaBetaBackwardCUDAKernel`: many rows of few columns are summed by blocks of 32 rows first, for weight and bias."""
    return _partial_sums(operands, platform, parameters=2)


def _rms_norm_backward(operands: Operands, platform: Platform) -> KernelMemory:
    return _partial_sums(operands, platform, parameters=1)


def _partial_sums(operands: Operands, platform: Platform, *, parameters: int) -> KernelMemory:
    tensor = operands.tensors[1]
    columns = 1
    for size in operands.integer_lists[0]:
        columns *= size
    rows = tensor.numel // columns if columns else 0
    width = 64 if platform.hardware.is_amd else 32
    if rows <= _MANY_ROWS or columns // width >= platform.hardware.multiprocessors // 2:
        return NOTHING
    blocks = min(_MOST_BLOCKS // -(-columns // width), -(-rows // _ROWS_OF_A_BLOCK))
    return temporaries(*(blocks * columns * tensor.element_bytes,) * parameters)


def _group_norm_backward(operands: Operands, platform: Platform) -> KernelMemory:
    """`GroupNormBackwardKernelImplInternal`: sums by sample and channel, and two by sample and group."""
    samples, channels, pixels, groups = operands.integers[:4]
    by_group = samples * groups * _FLOAT32_BYTES
    by_channel = samples * channels * _FLOAT32_BYTES
    return temporaries(*((by_channel,) * 3 if pixels > 1 else ()), by_group, by_group)


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    **dict.fromkeys(("_foreach_norm", "_foreach_powsum"), _foreach_reduction),
    "_foreach_max": _foreach_maximum,
    "native_layer_norm_backward": _layer_norm_backward,
    "_fused_rms_norm_backward": _rms_norm_backward,
    "native_group_norm_backward": _group_norm_backward,
}
