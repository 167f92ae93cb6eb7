"""Gradients of embeddings and of indexing: indices are sorted, so that each row is summed by one block.

aten/src/ATen/native/cuda/Embedding.cu, EmbeddingBackwardKernel.cu and Indexing.cu.
"""

import math
from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, Requests, one_by_one, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand
from fakerun.device_memory.kernels.sorting import radix_sort_bytes, scan_bytes

INDEX_BYTES = 8
_FEW_INDICES = 3072
"""Up to this number a kernel without temporaries sums the rows."""
_ROWS_OF_A_PARTIAL_SUM = 10
_MAXIMUM = 2
"""The mode of bags whose gradient goes to one row of each."""
_FLOAT32_BYTES = 4
_UNIQUE_TILE = 2048


def _embedding_backward(operands: Operands, platform: Platform) -> KernelMemory:
    """`embedding_dense_backward_cuda`. `num_weights` is the one number, `scale_grad_by_freq` the one flag."""
    gradient, indices = operands.tensors[:2]
    by_frequency = bool(operands.flags and operands.flags[0])
    if indices.numel == 0 or (indices.numel <= _FEW_INDICES and not by_frequency):
        return NOTHING
    return _summed_by_row(gradient, indices, operands.integers[0], platform, by_frequency=by_frequency)


def _bag_backward(operands: Operands, platform: Platform) -> KernelMemory:
    """`_embedding_bag_dense_backward_cuda`, of sums and means; numbers are those of `num_weights` and of the mode."""
    gradient, indices = operands.tensors[:2]
    rows, mode, *_ = operands.integers
    if indices.numel == 0 or mode == _MAXIMUM:
        return NOTHING
    return _summed_by_row(gradient, indices, rows, platform, by_frequency=bool(operands.flags and operands.flags[0]))


def _summed_by_row(gradient: TensorOperand, indices: TensorOperand, rows: int, platform: Platform, *, by_frequency: bool) -> KernelMemory:
    """Sorted indices, and partial sums of ten rows each in float32 (`embedding_backward_cuda_kernel`).

    There are as many segments as different indices, at most one for each row.
    """
    count, width, element = indices.numel, gradient.sizes[-1], indices.element_bytes
    segments = min(count, rows)
    partial_sums = count // _ROWS_OF_A_PARTIAL_SUM + segments
    indices_bytes, segments_bytes = count * element, segments * element
    requests = Requests(indices_bytes, indices_bytes)  # sorted, and their positions
    requests.during(temporaries(indices_bytes, radix_sort_bytes(count, element, element, platform)))
    if by_frequency:
        requests.take(indices_bytes)
        counting = temporaries(_unique_bytes(count))
        requests.during(one_by_one((counting, counting)))
    requests.take(indices_bytes, INDEX_BYTES)  # where segments begin, and their number
    requests.during(temporaries(indices_bytes, _unique_bytes(count)))
    requests.take(segments_bytes, segments_bytes)
    requests.during(temporaries(scan_bytes(segments, element)))
    requests.take(INDEX_BYTES, partial_sums * element, partial_sums * width * max(gradient.element_bytes, _FLOAT32_BYTES))
    return requests.memory


def _unique_bytes(count: int) -> int:
    """The storage of `UniqueByKey` of cub: a state for each tile of 2,048 indices, by what an H200 requested for up to 32,768."""
    return scan_bytes(count, INDEX_BYTES, tile=_UNIQUE_TILE)


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
    bits, slice_size = _bits_of_an_index(indexed, operands)
    is_whole = values.strides is None and values.numel == count * slice_size
    copied = 0 if is_whole else count * slice_size * values.element_bytes
    index_bytes = count * INDEX_BYTES
    sorting = radix_sort_bytes(count, INDEX_BYTES, INDEX_BYTES, platform, bits)
    requests = Requests()
    (linear,) = requests.take(index_bytes)
    requests.take(index_bytes)
    requests.free(linear)
    requests.during(one_by_one(temporaries(index_bytes, index_bytes) for _ in indices[1:]))
    requests.take(copied, index_bytes, index_bytes, index_bytes, sorting)
    return requests.memory


def _index(operands: Operands, platform: Platform) -> KernelMemory:
    """Indices that are broadcast are copied (`AdvancedIndex`, aten/src/ATen/native/TensorAdvancedIndexing.cpp)."""
    indices = operands.tensor_lists[0] if operands.tensor_lists else ()
    if not indices or any(index.dtype in ("bool", "uint8") for index in indices):
        return NOTHING
    count = _broadcast_count(indices)
    return temporaries(*(count * index.element_bytes for index in indices if index.numel != count))


def _bits_of_an_index(indexed: TensorOperand, operands: Operands) -> tuple[int, int]:
    """The bits of the largest linear index, and the elements of a slice, of the dimensions behind those that are indexed."""
    given = next(value for value in operands.values if isinstance(value, tuple))
    last = max(position for position, index in enumerate(given) if isinstance(index, TensorOperand))
    behind = math.prod(indexed.sizes[last + 1 :])
    rows = indexed.numel // behind if indexed.numel else 0
    before = math.prod(size for size, index in zip(indexed.sizes, given, strict=False) if not isinstance(index, TensorOperand))
    return max((rows - 1).bit_length(), 1) if rows else 1, behind * before


def _broadcast_count(tensors: tuple[TensorOperand, ...]) -> int:
    """The number of elements of tensors that are broadcast together."""
    count = 1
    for position in range(1, max(len(tensor.sizes) for tensor in tensors) + 1):
        lengths = [tensor.sizes[-position] for tensor in tensors if len(tensor.sizes) >= position]
        count *= next((length for length in lengths if length != 1), 1)
    return count


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    "embedding_dense_backward": _embedding_backward,
    "_embedding_bag_backward": _bag_backward,
    **dict.fromkeys(("index_put", "_index_put_impl"), _index_put),
    "index": _index,
}
