"""Sorting: the permutations, keys and values that a sort of more than 4,096 elements keeps beside its result.

aten/src/ATen/native/cuda/Sort.cpp, SortStable.cu, TensorTopK.cpp; aten/src/ATen/cuda/cub-RadixSortPairs.cuh; cub's dispatch_radix_sort.cuh.
"""

import math
from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, Requests, one_by_one, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand

INDEX_BYTES = 8
_LARGEST_SMALL_SORT = 4096
"""Shorter dimensions are sorted in place, in the result."""
_LARGE_SLICE = 10_000
_FEW_SEGMENTS = 128
_SEGMENT_BYTES = 4
_LARGE_SEGMENT = 1_000_000

_DIGITS = 256
_ALIGNMENT = 256
_SINGLE_TILE = 256 * 9
"""Pairs whose larger half has 8 bytes that one block sorts: 256 threads of 19 items of 4 bytes."""
_TILE = 384 * 10
_TILE_OF_4_BYTE_KEYS = 384 * 8
_TILES_OF_HOPPER = {
    (1, 8): 384 * 9,
    (2, 8): 512 * 11,
    (4, 8): 384 * 14,
    (8, 8): 384 * 12,
    (4, 4): 384 * 17,
    (8, 4): 384 * 15,
    (8, 0): 384 * 15,
}
"""By bytes of keys and values: `Policy900` of cub's tuning_radix_sort.cuh, with 64-bit offsets; measured on an H200."""

_MOST_REGISTERS = 6
"""Blocks of the selection that a multiprocessor has registers for: 65,536, of which a block of 256 threads takes 10,240."""
_THREADS = 256
_FEWEST_VALUES, _MOST_VALUES = 4, 64
_SEVERAL_BLOCKS = ((20, 20_000), (40, 10_000), (80, 8_000), (199, 5_000), (799, 3_000), (4000, 800))
"""Up to so many slices, the length from which several blocks share a slice."""
_OF_MORE_SLICES = 400
_SELECTED_TILE = 4096
"""Of `DeviceSelect`, by what an H200 requested for up to a million numbers."""
_SCAN_TILE = 1024
"""At least, of the counts of a selection."""


def radix_sort_bytes(count: int, key_bytes: int, value_bytes: int, platform: Platform, bits: int | None = None) -> int:
    """The temporary storage of a radix sort of pairs by so many bits: counters of digits and of tiles, all keys and values once more.

    cub's one-sweep sort, with 64-bit offsets; each part is aligned to 256 bytes. A single tile needs none, which is
    requested as one byte.
    """
    if count <= _SINGLE_TILE:
        return 1
    passes = -(-(bits or 8 * key_bytes) // 8)
    tiles = -(-count // _tile(key_bytes, value_bytes, platform))
    pairs = (count * key_bytes, count * value_bytes) if passes > 1 else ()
    return _aligned(passes * _DIGITS * 8, tiles * _DIGITS * 4, *pairs, passes * 4)


def _tile(key_bytes: int, value_bytes: int, platform: Platform) -> int:
    """Pairs that one block sorts at a time."""
    older = _TILE_OF_4_BYTE_KEYS if key_bytes == 4 else _TILE
    if platform.hardware.is_amd or platform.hardware.compute_capability < (9, 0):
        return older
    return _TILES_OF_HOPPER.get((key_bytes, value_bytes), older)


def _segmented_sort_bytes(count: int, key_bytes: int, value_bytes: int) -> int:
    """The same of a sort by segment, which has no counters."""
    return _aligned(count * key_bytes, count * value_bytes)


def _aligned(*parts: int) -> int:
    """Parts of one request (`AliasTemporaries` in cub)."""
    return sum(-(-part // _ALIGNMENT) * _ALIGNMENT for part in parts) + _ALIGNMENT - 1


def scan_bytes(count: int, element_bytes: int, *, tile: int | None = None) -> int:
    """The temporary storage of a scan: the state of each tile, of which 32 precede the first (`DeviceScan` of cub).

    Tiles are those of an H200.
    """
    state = INDEX_BYTES if element_bytes == 4 else 2 * INDEX_BYTES
    tile = tile or {2: 512 * 15, INDEX_BYTES: 128 * 7}.get(element_bytes, 128 * 15)
    return _aligned((32 + -(-count // tile)) * state, 1)


def _sort(operands: Operands, platform: Platform) -> KernelMemory:
    (tensor,) = operands.tensors[:1]
    dimension = operands.named.get("dim", next(iter(operands.integers), -1))
    return sort_memory(tensor, dimension, platform) if isinstance(dimension, int) else NOTHING


def sort_memory(tensor: TensorOperand, dimension: int, platform: Platform) -> KernelMemory:
    """`launch_stable_sort_kernel`; a dimension that is not the last in memory is sorted in copies of input, values and indices.

    Short dimensions are sorted in the result, which takes the positions of one slice (`sort_cuda_kernel`). Several long ones are sorted
    one after the other.
    """
    if not tensor.sizes or tensor.numel == 0 or tensor.sizes[dimension] == 1:
        return NOTHING
    length, count, key_bytes = tensor.sizes[dimension], tensor.numel, tensor.element_bytes
    if length <= _LARGEST_SMALL_SORT:
        return temporaries(length * INDEX_BYTES)
    is_last = dimension in (-1, len(tensor.sizes) - 1) if tensor.strides is None else tensor.strides[dimension] == 1
    requests = Requests(*() if is_last else (count * key_bytes, count * key_bytes, count * INDEX_BYTES))
    segments = count // length
    if segments == 1 or length >= _LARGE_SEGMENT:
        requests.take(length * INDEX_BYTES)
        sorting = temporaries(radix_sort_bytes(length, key_bytes, INDEX_BYTES, platform))
        requests.during(one_by_one(sorting for _ in range(segments)))
    elif segments < _FEW_SEGMENTS:
        requests.during(_sorted_with_segments(count, key_bytes, platform))
    else:
        requests.take(count * INDEX_BYTES, _segmented_sort_bytes(count, key_bytes, INDEX_BYTES))
    return requests.memory


def _sorted_with_segments(count: int, key_bytes: int, platform: Platform) -> KernelMemory:
    """`segmented_sort_large_segments`: pairs of position and segment before and after, sorted by key, and then by segment."""
    requests = Requests(count * INDEX_BYTES, count * INDEX_BYTES)
    requests.during(temporaries(count * key_bytes, radix_sort_bytes(count, key_bytes, INDEX_BYTES, platform)))
    bits = _FEW_SEGMENTS.bit_length() - 1
    requests.during(temporaries(radix_sort_bytes(count, INDEX_BYTES, _SEGMENT_BYTES, platform, bits)))
    return requests.memory


def _topk(operands: Operands, platform: Platform) -> KernelMemory:
    """`topk_out_cuda`: long slices are shared by several blocks; more than 4,096 results are sorted whole.

    On ROCm one large slice is sorted (`should_use_sort`).
    """
    (tensor,) = operands.tensors[:1]
    most, *rest = operands.integers or (0,)
    dimension = rest[0] if rest else -1
    if not tensor.sizes or tensor.numel == 0 or tensor.dtype == "bool":
        return NOTHING
    length = tensor.sizes[dimension]
    slices = tensor.numel // length
    if platform.hardware.is_amd:
        return _sorted_whole(tensor, dimension, platform) if length >= _LARGE_SLICE and slices == 1 else NOTHING
    selecting = _selection(length, slices, tensor.element_bytes, platform)
    wants_order = operands.flags[1] if len(operands.flags) > 1 else True
    if not wants_order or most <= _LARGEST_SMALL_SORT:
        return selecting
    return one_by_one((selecting, _sorted_whole(TensorOperand(tensor.dtype, (slices, most)), -1, platform, gathers=True)))


def _sorted_whole(tensor: TensorOperand, dimension: int, platform: Platform, *, gathers: bool = False) -> KernelMemory:
    """Values and indices of a sort, and what it takes; indices that are gathered by them."""
    indices = tensor.numel * INDEX_BYTES
    requests = Requests(tensor.numel * tensor.element_bytes, indices)
    requests.during(sort_memory(tensor, dimension, platform))
    requests.take(indices if gathers else 0)
    return requests.memory


def _selection(length: int, slices: int, element_bytes: int, platform: Platform) -> KernelMemory:
    """`mbtopk::launch` (TensorTopK.cu): of each slice the value that is sought and its digits; counts by block and by slice; scans."""
    shortest = next((shortest for most, shortest in _SEVERAL_BLOCKS if slices <= most), _OF_MORE_SLICES)
    if length < shortest:
        return NOTHING
    resident = platform.hardware.multiprocessors * _MOST_REGISTERS * _THREADS
    values = min(max(-(-length * slices // resident), _FEWEST_VALUES), _MOST_VALUES)
    blocks = slices * -(-length // (values * _THREADS))
    scan = temporaries(scan_bytes(blocks, INDEX_BYTES, tile=_SCAN_TILE))
    requests = Requests(slices * element_bytes, slices * INDEX_BYTES, slices * INDEX_BYTES)
    requests.take(blocks * _DIGITS * 2, slices * _DIGITS * 4, blocks * 4, blocks * 4)
    requests.during(one_by_one((scan, scan)))
    return requests.memory


def _median(operands: Operands, platform: Platform) -> KernelMemory:
    """`median_impl` of a whole tensor: it is sorted; of a dimension nothing is taken."""
    (tensor,) = operands.tensors[:1]
    if operands.integers or tensor.numel == 0:
        return NOTHING
    return _sorted_whole(TensorOperand(tensor.dtype, (tensor.numel,)), 0, platform)


def _permutation(operands: Operands, platform: Platform) -> KernelMemory:
    """`randperm_out_cuda`: random keys of so many bits that few are equal, the keys sorted, and the range that is sorted by them."""
    (count,) = operands.integers[:1]
    if count == 0:
        return NOTHING
    bits = min(64, math.ceil(math.log2(count - (6 * count**2 + 1) / (12 * math.log(0.9)))))
    key_bytes = 4 if bits <= 32 else 8
    sorting = radix_sort_bytes(count, key_bytes, INDEX_BYTES, platform, bits)
    return one_by_one((temporaries(8), temporaries(count * INDEX_BYTES, count * key_bytes, count * key_bytes, sorting)))


def _unique(operands: Operands, platform: Platform) -> KernelMemory:
    """`unique_cuda_template` (UniqueCub.cu): the values sorted, and room for all of them, of which the result keeps what it needs.

    Inverse indices and counts, which sort positions too, are left out.
    """
    (tensor,) = operands.tensors[:1]
    count, element = tensor.numel, tensor.element_bytes
    if count == 0 or tensor.dtype == "bool" or any(operands.flags[1:]):
        return NOTHING
    requests = Requests(count * element)
    requests.during(temporaries(radix_sort_bytes(count, element, 0, platform)))
    requests.take(count * element, INDEX_BYTES, scan_bytes(count, 4, tile=_SELECTED_TILE))
    return requests.memory


def _scan(operands: Operands, platform: Platform) -> KernelMemory:
    """One whole dimension is scanned by cub; integers are summed as int64. What is not contiguous is copied."""
    (tensor,) = operands.tensors[:1]
    dimension = next(iter(operands.integers), 0)
    if not tensor.sizes or tensor.numel == 0:
        return NOTHING
    widened = not tensor.dtype.startswith(("float", "bfloat", "complex", "int64"))
    element = INDEX_BYTES if widened else tensor.element_bytes
    copied = tensor.numel * element if widened or tensor.strides is not None else 0
    return temporaries(copied, scan_bytes(tensor.numel, element) if tensor.numel == tensor.sizes[dimension] else 0)


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    "sort": _sort,
    "argsort": _sort,
    "topk": _topk,
    "median": _median,
    "randperm": _permutation,
    "_unique2": _unique,
    **dict.fromkeys(("cumsum", "cumprod"), _scan),
}
