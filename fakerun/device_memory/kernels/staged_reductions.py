"""Reductions that several blocks share: each block leaves its partial results in global memory.

aten/src/ATen/native/cuda/Reduce.cuh (`setReduceConfig`, `global_memory_size`), the same in torch 2.11 to 2.14. The staging memory has room
for every thread of a block at every output: the gradient of a bias, a sum over the rows of a matrix, takes far more than its result.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand, strides_of

_FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
_PAIR_BYTES = 16
"""Of a value of up to 8 bytes and an int64, aligned."""
_MOST_THREADS = 512
_VECTOR = 4
_MOST_VALUES_PER_THREAD = 256
_THREADS_PER_MULTIPROCESSOR = 2048
_MOST_BYTES = 2**31 - 1
"""Larger tensors are reduced part by part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dimensions:
    """Sizes and strides of the dimensions that are reduced and of those that are kept, the fastest first; adjacent ones are one."""

    reduced: tuple[tuple[int, int], ...]
    kept: tuple[tuple[int, int], ...]

    @property
    def inputs(self) -> int:
        """The number of values of each result."""
        return math.prod(size for size, _ in self.reduced)

    @property
    def outputs(self) -> int:
        return math.prod(size for size, _ in self.kept)

    @property
    def reduces_the_fastest(self) -> bool:
        return not self.kept or self.reduced[0][1] < self.kept[0][1]


def _dimensions(tensor: TensorOperand, dims: Sequence[int]) -> _Dimensions:
    count = len(tensor.sizes)
    chosen = {dim % count for dim in dims} or set(range(count))
    sized = list(zip(tensor.sizes, strides_of(tensor), strict=True))
    reduced = [sized[dim] for dim in range(count) if dim in chosen and tensor.sizes[dim] > 1]
    kept = [sized[dim] for dim in range(count) if dim not in chosen and tensor.sizes[dim] > 1]
    return _Dimensions(reduced=_joined(sorted(reduced, key=lambda each: each[1])), kept=_joined(kept[::-1]))


def _joined(dimensions: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    joined: list[tuple[int, int]] = []
    for size, stride in dimensions:
        if joined and joined[-1][0] * joined[-1][1] == stride:
            joined[-1] = (joined[-1][0] * size, joined[-1][1])
        else:
            joined.append((size, stride))
    return tuple(joined)


def _sum(operands: Operands, platform: Platform) -> KernelMemory:
    """Sums and means accumulate in float32, or in the type if it is wider; of integers a copy as int64 is summed (ReduceOps.cpp)."""
    (tensor,) = operands.tensors[:1]
    if tensor.dtype in _FLOATS:
        return _staged(operands, platform, max(tensor.element_bytes, 4))
    copied = 0 if tensor.dtype == "int64" else tensor.numel * 8
    staged = _staged(operands, platform, 8)
    return temporaries(copied, *staged.temporary_bytes)


def _norm(operands: Operands, platform: Platform) -> KernelMemory:
    return _staged(operands, platform, max(operands.tensors[0].element_bytes, 4))


def _extremum(operands: Operands, platform: Platform) -> KernelMemory:
    """Of a dimension: pairs of value and index. Of everything: values."""
    if len(operands.tensors) > 1:  # element by element
        return NOTHING
    return _staged(operands, platform, _PAIR_BYTES if operands.integers else operands.tensors[0].element_bytes)


def _position(operands: Operands, platform: Platform) -> KernelMemory:
    return _staged(operands, platform, _PAIR_BYTES)


def _value(operands: Operands, platform: Platform) -> KernelMemory:
    return _staged(operands, platform, operands.tensors[0].element_bytes)


def _condition(operands: Operands, platform: Platform) -> KernelMemory:
    return _staged(operands, platform, 1)


def _staged(operands: Operands, platform: Platform, accumulator_bytes: int) -> KernelMemory:
    """The dimensions are the first list or the first number; all without one."""
    (tensor,) = operands.tensors[:1]
    if tensor.numel < 2 or tensor.numel * tensor.element_bytes > _MOST_BYTES:
        return NOTHING
    dims = operands.integer_lists[0] if operands.integer_lists else operands.integers[:1]
    dimensions = _dimensions(tensor, dims)
    return temporaries(*_staging(dimensions, accumulator_bytes, platform)) if dimensions.reduced else NOTHING


def _staging(dimensions: _Dimensions, accumulator_bytes: int, platform: Platform) -> tuple[int, ...]:
    """Partial results, and a counter for each block of outputs; nothing where one block does it."""
    fastest = dimensions.reduces_the_fastest
    vector = 1 if fastest else _output_vector(dimensions)
    width, height = _block(dimensions, vector, platform)
    lanes_of_input, lanes_of_output = (width, 1) if fastest else (1, width)
    values = -(-dimensions.inputs // lanes_of_input)
    if values < min(height * 16, _MOST_VALUES_PER_THREAD):
        return ()  # rows of a block have outputs of their own
    values = -(-dimensions.inputs // (lanes_of_input * height))
    grid = -(-(dimensions.outputs // vector) // lanes_of_output)
    blocks = _blocks_per_output(values, grid, width * height, platform)
    if blocks == 1:
        return ()
    threads = 1 if fastest else width * vector
    return accumulator_bytes * dimensions.outputs * blocks * threads, 4 * grid


def _output_vector(dimensions: _Dimensions) -> int:
    """How many adjacent outputs a thread computes (`get_output_vec_size`)."""
    (size, stride), *others = dimensions.kept
    if stride != 1:
        return 1
    vector = _VECTOR
    for number in (size, *(other for _, other in (*others, *dimensions.reduced))):
        while number % vector:
            vector //= 2
    return vector


def _block(dimensions: _Dimensions, vector: int, platform: Platform) -> tuple[int, int]:
    """Threads along the fastest dimension and along the other (`set_block_dimension`)."""
    warp = 64 if platform.hardware.is_amd else 32
    if dimensions.reduces_the_fastest:
        along, across = dimensions.inputs, dimensions.outputs
        if along >= 128 and len(dimensions.reduced) == 1 and dimensions.reduced[0][1] == 1:
            along //= _VECTOR
    else:
        along, across = dimensions.outputs // vector, dimensions.inputs
    most = _MOST_THREADS // vector
    along, across = (_power_of_two(min(number, most)) for number in (along, across))
    height = min(across, most // min(along, warp))
    return min(along, most // height), height


def _power_of_two(number: int) -> int:
    """The largest that is not above the number."""
    return 1 << (max(number, 1).bit_length() - 1)


def _blocks_per_output(values: int, grid: int, threads: int, platform: Platform) -> int:
    hardware = platform.hardware
    resident = (hardware.threads_per_multiprocessor or _THREADS_PER_MULTIPROCESSOR) // threads * hardware.multiprocessors
    if values < _MOST_VALUES_PER_THREAD or grid > resident:
        return 1
    fewest_values = 128 if hardware.is_amd else 16
    blocks = max(min(-(-resident // grid), -(-values // fewest_values)), -(-values // _MOST_VALUES_PER_THREAD))
    return max(blocks, 64) if hardware.is_amd and blocks > 1 else blocks


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    **dict.fromkeys(("mean", "nansum", "sum"), _sum),
    **dict.fromkeys(("linalg_vector_norm", "prod"), _norm),
    **dict.fromkeys(("max", "min"), _extremum),
    **dict.fromkeys(("argmax", "argmin"), _position),
    **dict.fromkeys(("amax", "amin"), _value),
    **dict.fromkeys(("all", "any"), _condition),
}
