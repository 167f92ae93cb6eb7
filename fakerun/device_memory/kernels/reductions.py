"""Norms of tensors and gradients of normalisations: partial results that a second kernel sums.

aten/src/ATen/native/cuda/ForeachReduceOp.cu, layer_norm_kernel.cu and group_norm_kernel.cu.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, Requests, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand, is_dense
from fakerun.device_memory.kernels.staged_reductions import staging

_CHUNK = 65536
"""Elements that one block of a multi-tensor kernel reads (MultiTensorApply.cuh)."""
_FLOAT32_BYTES = 4
_TENSORS_WITHOUT_WEIGHT = 4
"""Of the backward of group normalisation: gradient, input, mean and reciprocal deviation."""
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
    return _with_copies(operands.tensors[:2], _partial_sums(operands, platform))


def _rms_norm_backward(operands: Operands, platform: Platform) -> KernelMemory:
    return _with_copies(operands.tensors[:2], _partial_sums(operands, platform))


def _normalised(operands: Operands, platform: Platform) -> KernelMemory:
    return _with_copies(operands.tensors[:1], NOTHING)


def _with_copies(tensors: Sequence[TensorOperand], kernel: KernelMemory) -> KernelMemory:
    """Tensors that are not contiguous are copied (`expect_contiguous`)."""
    copied = [tensor for tensor in tensors if not is_dense(tensor, tuple(range(len(tensor.sizes))))]
    requests = Requests(*(tensor.numel * tensor.element_bytes for tensor in copied))
    requests.during(kernel)
    return requests.memory


def _partial_sums(operands: Operands, platform: Platform) -> KernelMemory:
    """Sums of blocks for each parameter, which are then summed one after the other, each into a new gradient."""
    tensor = operands.tensors[1]
    parameters = sum(operands.flag_lists[-1][1:])
    columns = math.prod(operands.integer_lists[0])
    rows = tensor.numel // columns if columns else 0
    width = 64 if platform.hardware.is_amd else 32
    if rows <= _MANY_ROWS or columns // width >= platform.hardware.multiprocessors // 2:
        return NOTHING
    blocks = min(_MOST_BLOCKS // -(-columns // width), -(-rows // _ROWS_OF_A_BLOCK))
    partial = TensorOperand(tensor.dtype, (blocks, columns))
    requests = Requests(*(blocks * columns * tensor.element_bytes,) * parameters)
    for _ in range(parameters):
        sums = Requests(columns * tensor.element_bytes)
        sums.during(staging(partial, (0,), max(tensor.element_bytes, _FLOAT32_BYTES), platform))
        requests.during(sums.memory)
    return requests.memory


def _group_norm(operands: Operands, platform: Platform) -> KernelMemory:
    """`GroupNormKernelImplInternal`: a factor and a summand by sample and channel, where there are a weight and several pixels."""
    samples, channels, pixels, _ = operands.integers[:4]
    by_channel = samples * channels * _FLOAT32_BYTES
    return temporaries(*(by_channel,) * 2) if pixels > 1 and len(operands.tensors) > 1 else NOTHING


def _group_norm_backward(operands: Operands, platform: Platform) -> KernelMemory:
    """`GroupNormBackwardKernelImplInternal`: two sums by sample and channel, two by sample and group; factors if there is a weight."""
    samples, channels, pixels, groups = operands.integers[:4]
    by_group = samples * groups * _FLOAT32_BYTES
    by_channel = samples * channels * _FLOAT32_BYTES
    has_weight = len(operands.tensors) > _TENSORS_WITHOUT_WEIGHT
    requests = Requests(by_channel, by_channel)
    sums = requests.take(by_group, by_group)
    if pixels > 1 and has_weight:
        requests.take(by_channel)
    requests.free(*sums)
    return requests.memory


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    **dict.fromkeys(("_foreach_norm", "_foreach_powsum"), _foreach_reduction),
    "_foreach_max": _foreach_maximum,
    **dict.fromkeys(("native_layer_norm", "_fused_rms_norm"), _normalised),
    "native_layer_norm_backward": _layer_norm_backward,
    "_fused_rms_norm_backward": _rms_norm_backward,
    "native_group_norm": _group_norm,
    "native_group_norm_backward": _group_norm_backward,
}
