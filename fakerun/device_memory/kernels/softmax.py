"""Softmax and the logarithm of sums of exponentials: copies, products, and rows that are masked out.

aten/src/ATen/native/cuda/SoftMax.cu, aten/src/ATen/native/SoftMax.cpp (`_safe_softmax`) and ReduceOps.cpp (`logsumexp_out_impl`).
"""

import math
from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import KernelMemory, Platform, Requests, temporaries
from fakerun.device_memory.kernels.operands import Operands, is_dense
from fakerun.device_memory.kernels.staged_reductions import staging

_FLOAT32_BYTES = 4


def _softmax(operands: Operands, platform: Platform) -> KernelMemory:
    """`host_softmax`: an input that is not contiguous is copied."""
    (tensor,) = operands.tensors[:1]
    return temporaries(0 if is_dense(tensor, tuple(range(len(tensor.sizes)))) else tensor.numel * tensor.element_bytes)


def _softmax_backward(operands: Operands, platform: Platform) -> KernelMemory:
    """`softmax_backward_cuda_out`: the product of gradient and output."""
    gradient = operands.tensors[0]
    return temporaries(gradient.numel * gradient.element_bytes)


def _safe_softmax(operands: Operands, platform: Platform) -> KernelMemory:
    """Where the input is minus infinity, the rows where all is, and a zero for them."""
    (tensor,) = operands.tensors[:1]
    rows = tensor.numel // tensor.sizes[-1] if tensor.numel else 0
    return temporaries(tensor.numel, rows, tensor.element_bytes)


def _logsumexp(operands: Operands, platform: Platform) -> KernelMemory:
    """The largest values of rows, where they are infinite, and exponentials of the differences."""
    (tensor,) = operands.tensors[:1]
    dims = operands.integer_lists[0] if operands.integer_lists else operands.integers[:1]
    reduced = {dim % len(tensor.sizes) for dim in dims} if tensor.sizes else set()
    rows = math.prod(size for dim, size in enumerate(tensor.sizes) if dim not in reduced)
    element = tensor.element_bytes
    accumulator = max(element, _FLOAT32_BYTES)
    requests = Requests(rows * element)
    requests.during(staging(tensor, dims, element, platform))
    requests.during(temporaries(rows * element, rows))
    requests.take(tensor.numel * element)
    requests.during(staging(tensor, dims, accumulator, platform))
    return requests.memory


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    **dict.fromkeys(("_softmax", "_log_softmax"), _softmax),
    "_softmax_backward_data": _softmax_backward,
    "_safe_softmax": _safe_softmax,
    "logsumexp": _logsumexp,
}
