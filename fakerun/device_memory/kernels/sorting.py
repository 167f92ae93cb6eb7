"""Sorting: the permutations, keys and values that a sort of more than 4,096 elements keeps beside its result.

aten/src/ATen/native/cuda/Sort.cpp, SortStable.cu, TensorTopK.cpp; aten/src/ATen/cuda/cub-RadixSortPairs.cuh. A radix sort of cub that may
not overwrite its input needs room for all keys and values once more; its counters, some percent of that, are left out.
"""

from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand

INDEX_BYTES = 8
_LARGEST_SMALL_SORT = 4096
"""Shorter dimensions are sorted in place, in the result."""
_FEW_SEGMENTS = 128
_LARGE_SEGMENT = 1_000_000


def radix_sort_bytes(count: int, key_bytes: int, value_bytes: int) -> int:
    """The temporary storage of cub for pairs."""
    return count * (key_bytes + value_bytes)


def _sort(operands: Operands, platform: Platform) -> KernelMemory:
    (tensor,) = operands.tensors[:1]
    dimension = operands.named.get("dim", next(iter(operands.integers), -1))
    return temporaries(*_sort_requests(tensor, dimension)) if isinstance(dimension, int) else NOTHING


def _sort_requests(tensor: TensorOperand, dimension: int) -> tuple[int, ...]:
    """`launch_stable_sort_kernel`; a dimension that is not the last in memory is sorted in copies of input, values and indices."""
    if not tensor.sizes or tensor.numel == 0 or tensor.sizes[dimension] <= _LARGEST_SMALL_SORT:
        return ()
    length, count, key_bytes = tensor.sizes[dimension], tensor.numel, tensor.element_bytes
    is_last = dimension in (-1, len(tensor.sizes) - 1) if tensor.strides is None else tensor.strides[dimension] == 1
    copies = () if is_last else (count * key_bytes, count * key_bytes, count * INDEX_BYTES)
    segments = count // length
    if segments == 1 or length >= _LARGE_SEGMENT:
        return (*copies, length * INDEX_BYTES, radix_sort_bytes(length, key_bytes, INDEX_BYTES))
    sorting = radix_sort_bytes(count, key_bytes, INDEX_BYTES)
    if segments < _FEW_SEGMENTS:  # pairs of position and segment before and after, and the sorted keys
        return (*copies, count * INDEX_BYTES, count * INDEX_BYTES, count * key_bytes, sorting)
    return (*copies, count * INDEX_BYTES, sorting)


def _topk(operands: Operands, platform: Platform) -> KernelMemory:
    """`topk_out_cuda`: few large slices are sorted whole (`should_use_sort`)."""
    (tensor,) = operands.tensors[:1]
    dimension = operands.integers[1] if len(operands.integers) > 1 else -1
    if not tensor.sizes or tensor.numel == 0 or tensor.dtype == "bool":
        return NOTHING
    length = tensor.sizes[dimension]
    slices = tensor.numel // length
    sorts = length >= 10_000 and slices == 1 if platform.hardware.is_amd else length >= 100_000 and slices <= 10
    if not sorts:
        return NOTHING
    return temporaries(tensor.numel * tensor.element_bytes, tensor.numel * INDEX_BYTES, *_sort_requests(tensor, dimension))


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {"sort": _sort, "argsort": _sort, "topk": _topk}
