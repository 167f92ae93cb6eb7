"""DescribedOperation: an operation of a device program, read. What its kernels must read and write at least follows from it."""

import math
from functools import cached_property

from fakerun.device_memory.kernels.operands import Operands, TensorOperand, operands_of, strides_of
from fakerun.records.device_program import Operation

_WRITTEN_FIRST = frozenset(
    {"_foreach_copy_", "_foreach_zero_", "bernoulli_", "copy_", "exponential_", "fill_", "normal_", "random_", "uniform_", "zero_"}
)
"""Operators in place that do not read what they overwrite."""


class DescribedOperation:
    """An operation with its operator, arguments and results. Tensors on the host are not among its `inputs` and `results`."""

    def __init__(self, operation: Operation) -> None:
        self.namespace, _, rest = operation.name.partition(".")
        self.operator, _, self.overload = rest.partition(".")
        self.operands: Operands = operands_of(operation.arguments)
        self._results = operation.results

    @cached_property
    def tensors(self) -> tuple[TensorOperand, ...]:
        """All tensors of the arguments, those of lists and named ones, too, wherever they are."""
        values = (*self.operands.values, *self.operands.named.values())
        flat = (each for value in values for each in (value if isinstance(value, tuple) else (value,)))
        return tuple(each for each in flat if isinstance(each, TensorOperand))

    @cached_property
    def inputs(self) -> tuple[TensorOperand, ...]:
        """Tensors of the arguments that are on the device."""
        return tuple(each for each in self.tensors if not each.on_host)

    @cached_property
    def results(self) -> tuple[TensorOperand, ...]:
        """Tensors that the operation makes. Where the record does not have them: one of the shape to which the inputs broadcast."""
        if self._results:
            read = operands_of(self._results)
            return (*read.tensors, *(tensor for tensors in read.tensor_lists for tensor in tensors))
        return () if self.is_in_place or not self.inputs else (self._broadcast(),)

    @property
    def has_results(self) -> bool:
        """Whether the record has the results."""
        return bool(self._results)

    @property
    def is_in_place(self) -> bool:
        """Whether it writes to arguments only."""
        return self.operator.endswith("_") or self.overload == "out" or "out" in self.operands.named

    @cached_property
    def written(self) -> tuple[TensorOperand, ...]:
        """Tensors that it writes: results, and what it changes in place."""
        if not self.is_in_place:
            return self.results
        out = self.operands.named.get("out")
        if out is not None:
            changed = out if isinstance(out, tuple) else (out,)
        else:
            first = self.operands.values[0] if self.operands.values else ()
            changed = first if isinstance(first, tuple) else (first,)
        return (*(each for each in changed if isinstance(each, TensorOperand)), *self.results)

    @cached_property
    def read(self) -> tuple[TensorOperand, ...]:
        """Tensors that it reads."""
        overwrites = self.operator in _WRITTEN_FIRST or self.overload == "out" or "out" in self.operands.named
        if not overwrites:
            return self.inputs
        left = list(self.inputs)
        for each in self.written:
            if each in left:
                left.remove(each)
        return tuple(left)

    @property
    def moved_bytes(self) -> int:
        """Bytes that it reads and writes at least: distinct elements only."""
        return sum(map(distinct_bytes, self.read)) + sum(map(distinct_bytes, self.written))

    @property
    def elements(self) -> int:
        """Elements of the largest tensor that it reads or writes."""
        return max((each.numel for each in (*self.inputs, *self.written)), default=0)

    def _broadcast(self) -> TensorOperand:
        tensors = self.inputs
        rank = max(len(each.sizes) for each in tensors)
        padded = [(1,) * (rank - len(each.sizes)) + each.sizes for each in tensors]
        named = self.operands.named.get("dtype")
        dtype = named.removeprefix("torch.") if isinstance(named, str) else tensors[0].dtype
        return TensorOperand(dtype, tuple(map(max, zip(*padded, strict=True))))


def distinct_bytes(tensor: TensorOperand) -> int:
    """Bytes of the elements that differ: a dimension of stride 0 has one."""
    if tensor.strides is None:
        return tensor.numel * tensor.element_bytes
    distinct = math.prod(size for size, stride in zip(tensor.sizes, strides_of(tensor), strict=True) if stride or not size)
    return distinct * tensor.element_bytes
