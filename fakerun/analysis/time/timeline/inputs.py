"""What operations were given, as a profiler shows it: sizes and types of tensors, and whether it is copied from the host."""

from dataclasses import dataclass
from typing import TypeAlias

from fakerun.device_memory.kernels.operands import TensorOperand, Value, operands_of
from fakerun.records.device_program import Operation


@dataclass(frozen=True, slots=True)
class TensorInput:
    """A tensor; `dtype` is torch's name without `torch.`."""

    dtype: str
    sizes: tuple[int, ...]


Input: TypeAlias = TensorInput | tuple[TensorInput, ...] | None
"""A tensor, a list of tensors, or something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationInputs:
    """The inputs in order. `ends_on_host` tells whether the last tensor is on the host: what `copy_(to, source)` copies."""

    inputs: tuple[Input, ...]
    ends_on_host: bool


def operation_inputs(operation: Operation) -> OperationInputs:
    """Read from the text of its arguments."""
    operands = operands_of(operation.arguments)
    return OperationInputs(inputs=tuple(map(_input, operands.values)), ends_on_host=bool(operands.tensors) and operands.tensors[-1].on_host)


def _input(value: Value) -> Input:
    if isinstance(value, TensorOperand):
        return TensorInput(value.dtype, value.sizes)
    if isinstance(value, tuple):
        return tuple(TensorInput(each.dtype, each.sizes) for each in value if isinstance(each, TensorOperand)) or None
    return None
