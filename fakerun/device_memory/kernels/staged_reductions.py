"""Reductions that several blocks share: each block leaves its partial results in global memory.

aten/src/ATen/native/cuda/Reduce.cuh (`setReduceConfig`, `global_memory_size`), the same in torch 2.11 to 2.14. The staging memory has room
for every thread of a block at every output: the gradient of a bias, a sum over the rows of a matrix, takes far more than its result.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fakerun.device_memory.kernels.kernel_memory import NOTHING, KernelMemory, Platform, Requests, one_by_one, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand, strides_of

_FLOATS = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
_PAIR_BYTES = 16
"""Of a value of up to 8 bytes and an int64, aligned."""
_WELFORD_VALUES = 4
_MOST_THREADS = 512
_VECTOR = 4
_MOST_VALUES_PER_THREAD = 256
_THREADS_PER_MULTIPROCESSOR = 2048
_MOST_OFFSET = 2**31 - 1
"""Bytes, and elements, that 32-bit indices reach: larger tensors are reduced part by part."""


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

    def parts(self, element_bytes: int) -> "tuple[_Dimensions, ...]":
        """Halves of the dimension that reaches farthest, until 32-bit indices reach all (`SplitUntil32Bit`, TensorIterator.cpp)."""
        every = (*self.reduced, *self.kept)
        reach = 1 + sum((size - 1) * stride * element_bytes for size, stride in every)
        if max(reach, self.inputs * self.outputs) <= _MOST_OFFSET:
            return (self,)
        farthest = max(range(len(every)), key=lambda number: (every[number][0] - 1) * every[number][1])
        size, stride = every[farthest]
        halves = (size // 2, size - size // 2)
        return tuple(part for half in halves for part in self._with(farthest, (half, stride)).parts(element_bytes))

    def _with(self, number: int, dimension: tuple[int, int]) -> "_Dimensions":
        every = [*self.reduced, *self.kept]
        every[number] = dimension
        return _Dimensions(reduced=tuple(every[: len(self.reduced)]), kept=tuple(every[len(self.reduced) :]))

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
    requests = Requests(0 if tensor.dtype == "int64" else tensor.numel * 8)
    requests.during(_staged(operands, platform, 8))
    return requests.memory


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


def _variance(operands: Operands, platform: Platform) -> KernelMemory:
    """Welford's mean, sum of squares, and two counts, of float32 or wider (`WelfordData`, SharedReduceOps.h)."""
    return _staged(operands, platform, _WELFORD_VALUES * max(operands.tensors[0].element_bytes, 4))


def _extrema(operands: Operands, platform: Platform) -> KernelMemory:
    return _staged(operands, platform, 2 * operands.tensors[0].element_bytes)


def _staged(operands: Operands, platform: Platform, accumulator_bytes: int) -> KernelMemory:
    """The dimensions are the first list or the first number; all without one."""
    (tensor,) = operands.tensors[:1]
    dims = operands.integer_lists[0] if operands.integer_lists else operands.integers[:1]
    result_bytes = _element_bytes(operands.named.get("dtype")) or tensor.element_bytes
    return staging(tensor, dims, accumulator_bytes, platform, result_bytes=result_bytes)


def staging(
    tensor: TensorOperand, dims: Sequence[int], accumulator_bytes: int, platform: Platform, *, result_bytes: int | None = None
) -> KernelMemory:
    """What a reduction of these dimensions, or of all, requests for each part of the tensor.

    Parts that are reduced into one result leave it in memory of its own if the result is narrower (`AccumulationBuffer`).
    """
    dimensions = _dimensions(tensor, dims) if tensor.numel > 1 else _Dimensions(reduced=(), kept=())
    if not dimensions.reduced:
        return NOTHING
    parts = dimensions.parts(tensor.element_bytes)
    is_narrower = accumulator_bytes > (result_bytes or tensor.element_bytes)
    requests = Requests(accumulator_bytes * dimensions.outputs if len(parts) > 1 and is_narrower else 0)
    requests.during(one_by_one(temporaries(*_staging(part, accumulator_bytes, platform)) for part in parts))
    return requests.memory


def _element_bytes(dtype: object) -> int | None:
    """Of a type that is named as `torch.float32`."""
    return TensorOperand(dtype.removeprefix("torch."), ()).element_bytes if isinstance(dtype, str) else None


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
    **dict.fromkeys(("amax", "amin", "all", "any"), _value),
    **dict.fromkeys(("var", "var_mean", "std", "std_mean"), _variance),
    "aminmax": _extrema,
}
