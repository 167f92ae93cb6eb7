"""Sorting: the permutations, keys and values that a sort of more than 4,096 elements keeps beside its result.

aten/src/ATen/native/cuda/Sort.cpp, SortStable.cu, TensorTopK.cpp; aten/src/ATen/cuda/cub-RadixSortPairs.cuh; cub's dispatch_radix_sort.cuh.
"""

from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand

INDEX_BYTES = 8
_LARGEST_SMALL_SORT = 4096
"""Shorter dimensions are sorted in place, in the result."""
_FEW_SEGMENTS = 128
_LARGE_SEGMENT = 1_000_000

_DIGITS = 256
_ALIGNMENT = 256
_SINGLE_TILE = 256 * 9
"""Pairs whose larger half has 8 bytes that one block sorts: 256 threads of 19 items of 4 bytes."""
_TILE = 384 * 10
_TILE_OF_4_BYTE_KEYS = 384 * 8


def radix_sort_bytes(count: int, key_bytes: int, value_bytes: int, bits: int | None = None) -> int:
    """The temporary storage of a radix sort of pairs by so many bits: counters of digits and of tiles, all keys and values once more.

    cub's one-sweep sort, with 64-bit offsets and 8-byte values; each part is aligned to 256 bytes. A single tile needs none, which is
    requested as one byte.
    """
    if count <= _SINGLE_TILE:
        return 1
    passes = -(-(bits or 8 * key_bytes) // 8)
    tiles = -(-count // (_TILE_OF_4_BYTE_KEYS if key_bytes == 4 else _TILE))
    return _aligned(passes * _DIGITS * 8, tiles * _DIGITS * 4, count * key_bytes, count * value_bytes, passes * 4)


def _segmented_sort_bytes(count: int, key_bytes: int, value_bytes: int) -> int:
    """The same of a sort by segment, which has no counters."""
    return _aligned(count * key_bytes, count * value_bytes)


def _aligned(*parts: int) -> int:
    """Parts of one request (`AliasTemporaries` in cub)."""
    return sum(-(-part // _ALIGNMENT) * _ALIGNMENT for part in parts) + _ALIGNMENT - 1


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
    if segments < _FEW_SEGMENTS:  # pairs of position and segment before and after, and the sorted keys
        sorting = radix_sort_bytes(count, key_bytes, INDEX_BYTES)
        return (*copies, count * INDEX_BYTES, count * INDEX_BYTES, count * key_bytes, sorting)
    return (*copies, count * INDEX_BYTES, _segmented_sort_bytes(count, key_bytes, INDEX_BYTES))


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
