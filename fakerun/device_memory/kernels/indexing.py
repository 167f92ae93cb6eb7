"""Gradients of embeddings and of indexing: indices are sorted, so that each row is summed by one block.

aten/src/ATen/native/cuda/Embedding.cu, EmbeddingBackwardKernel.cu and Indexing.cu.
"""

import math
from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand
from fakerun.device_memory.kernels.sorting import radix_sort_bytes

INDEX_BYTES = 8
_FEW_INDICES = 3072
"""Up to this number a kernel without temporaries sums the rows."""
_ROWS_OF_A_PARTIAL_SUM = 10
_FLOAT32_BYTES = 4


def _embedding_backward(operands: Operands, platform: Platform) -> KernelMemory:
    """`embedding_dense_backward_cuda`: sorted indices, and partial sums of ten rows each in float32.

    `num_weights` is the one number, `scale_grad_by_freq` the one flag. The sort itself needs more only for very short rows.
    """
    gradient, indices = operands.tensors[:2]
    rows, by_frequency = operands.integers[0], bool(operands.flags and operands.flags[0])
    count, width = indices.numel, gradient.sizes[-1]
    if count == 0 or (count <= _FEW_INDICES and not by_frequency):
        return NOTHING
    element = indices.element_bytes
    segments = min(count, rows)
    partial_sums = count // _ROWS_OF_A_PARTIAL_SUM + segments
    summing = (
        *(count * element,) * (4 if by_frequency else 3),  # sorted indices, their positions, where segments begin; occurrences
        segments * element,
        segments * element,
        partial_sums * element,
        partial_sums * width * max(gradient.element_bytes, _FLOAT32_BYTES),
    )
    sorting = (*(count * element,) * 3, radix_sort_bytes(count, element, element))
    return temporaries(*max(summing, sorting, key=sum))


def _index_put(operands: Operands, platform: Platform) -> KernelMemory:
    """`index_put_with_sort_kernel`, for sums: linear indices, sorted, and the positions that they had.

    Values are made contiguous. Masks are expanded to indices whose number depends on values: they are left out.
    """
    accumulates = bool(operands.flags and operands.flags[0])
    if not accumulates or not operands.tensor_lists:
        return NOTHING
    indices = operands.tensor_lists[0]
    if any(index.dtype in ("bool", "uint8") for index in indices):
        return NOTHING
    indexed, values = operands.tensors[:2]
    count = _broadcast_count(indices)
    copied = values.numel * values.element_bytes if values.strides is not None else 0
    bits = _bits_of_an_index(indexed, operands)
    return temporaries(copied, *(count * INDEX_BYTES,) * 4, radix_sort_bytes(count, INDEX_BYTES, INDEX_BYTES, bits))


def _bits_of_an_index(indexed: TensorOperand, operands: Operands) -> int:
    """The bits of the largest linear index, in slices of the dimensions behind those that are indexed."""
    given = next(value for value in operands.values if isinstance(value, tuple))
    last = max(position for position, index in enumerate(given) if isinstance(index, TensorOperand))
    rows = indexed.numel // math.prod(indexed.sizes[last + 1 :]) if indexed.numel else 0
    return max((rows - 1).bit_length(), 1) if rows else 1


def _broadcast_count(tensors: tuple[TensorOperand, ...]) -> int:
    """The number of elements of tensors that are broadcast together."""
    count = 1
    for position in range(1, max(len(tensor.sizes) for tensor in tensors) + 1):
        lengths = [tensor.sizes[-position] for tensor in tensors if len(tensor.sizes) >= position]
        count *= next((length for length in lengths if length != 1), 1)
    return count


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    "embedding_dense_backward": _embedding_backward,
    **dict.fromkeys(("index_put", "_index_put_impl"), _index_put),
}
