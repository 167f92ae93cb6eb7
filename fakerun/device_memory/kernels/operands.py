"""The text of an operation, read: its tensors and numbers, in order. What describes no amount of work is not in the text.

The text is that of `Operation.arguments`: `bfloat16[8192,4096]{1,8192}, [float32[8] x 3, int64[2]@cpu], [1, 2], 5, True, approximate=tanh`.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

_TENSOR = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([\d,]*)\})?(@cpu)?(?: x (\d+))?")
_NAMED = re.compile(r"([a-z_]\w*)=(?=\S)")
_BITS = re.compile(r"(\d+)")
_ELEMENT_BYTES = {"bool": 1, "complex32": 4, "complex64": 8, "complex128": 16}


@dataclass(frozen=True, slots=True)
class TensorOperand:
    """The metadata of a tensor. `strides` is None if it is contiguous."""

    dtype: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    on_host: bool = False

    @property
    def numel(self) -> int:
        return math.prod(self.sizes)

    @property
    def element_bytes(self) -> int:
        """Bytes of an element; 1 for those of less than a byte, which are stored in pairs."""
        known = _ELEMENT_BYTES.get(self.dtype)
        if known is None:
            bits = _BITS.search(self.dtype)
            known = max(int(bits[1]) // 8, 1) if bits else 1
        return known


Value: TypeAlias = "TensorOperand | int | bool | str | tuple[Value, ...]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """The arguments of one operation. Positions count only what is there: a bias of None leaves no gap."""

    values: tuple[Value, ...] = ()
    named: Mapping[str, Value] = field(default_factory=dict)

    @property
    def tensors(self) -> tuple[TensorOperand, ...]:
        """The tensors that are arguments of their own, in order."""
        return tuple(value for value in self.values if isinstance(value, TensorOperand))

    @property
    def tensor_lists(self) -> tuple[tuple[TensorOperand, ...], ...]:
        """The lists of tensors, in order."""
        lists = (tuple(each for each in value if isinstance(each, TensorOperand)) for value in self.values if isinstance(value, tuple))
        return tuple(tensors for tensors in lists if tensors)

    @property
    def integers(self) -> tuple[int, ...]:
        """The numbers that are arguments of their own, in order; flags are none."""
        return tuple(value for value in self.values if type(value) is int)

    @property
    def integer_lists(self) -> tuple[tuple[int, ...], ...]:
        """The lists that have no tensors, in order."""
        lists = (value for value in self.values if isinstance(value, tuple))
        return tuple(tuple(each for each in value if type(each) is int) for value in lists if not any(map(_is_tensor, value)))

    @property
    def flag_lists(self) -> tuple[tuple[bool, ...], ...]:
        """The lists of flags, in order: which gradients are wanted."""
        lists = (value for value in self.values if isinstance(value, tuple) and value)
        return tuple(tuple(map(bool, value)) for value in lists if all(isinstance(each, bool) for each in value))

    @property
    def flags(self) -> tuple[bool, ...]:
        return tuple(value for value in self.values if isinstance(value, bool))


def strides_of(tensor: TensorOperand) -> tuple[int, ...]:
    """The strides, of a contiguous tensor, too."""
    if tensor.strides is not None:
        return tensor.strides
    return tuple(math.prod(tensor.sizes[position + 1 :]) for position in range(len(tensor.sizes)))


def is_dense(tensor: TensorOperand, order: tuple[int, ...] | None = None) -> bool:
    """Whether the elements are contiguous with the dimensions in this order, or in that of their strides.

    Dimensions of one element may have any stride.
    """
    strides = strides_of(tensor)
    order = order or tuple(sorted(range(len(strides)), key=strides.__getitem__, reverse=True))
    expected = 1
    for dimension in reversed(order):
        if tensor.sizes[dimension] != 1 and strides[dimension] != expected:
            return False
        expected *= tensor.sizes[dimension]
    return True


def tensor_text(tensor: TensorOperand) -> str:
    """A tensor as the text of an operation has it: `bfloat16[8192,4096]{1,8192}`."""
    strides = "" if tensor.strides is None else f"{{{','.join(map(str, tensor.strides))}}}"
    return f"{tensor.dtype}[{','.join(map(str, tensor.sizes))}]{strides}{'@cpu' * tensor.on_host}"


def operands_of(arguments: str) -> Operands:
    """Read the arguments of an operation."""
    values: list[Value] = []
    named: dict[str, Value] = {}
    for text in _parts(arguments):
        name = _NAMED.match(text)
        if name is None:
            values.append(_value(text))
        else:
            named[name[1]] = _value(text[name.end() :])
    return Operands(values=tuple(values), named=named)


def _is_tensor(value: Value) -> bool:
    return isinstance(value, TensorOperand)


def _value(text: str) -> Value:
    tensor = _TENSOR.fullmatch(text)
    if tensor is not None and tensor[5] is None:
        return _tensor(tensor)
    if text.startswith(("[", "(")) and text.endswith(("]", ")")):
        return tuple(_elements(text[1:-1]))
    if text in ("True", "False"):
        return text == "True"
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def _elements(text: str) -> Iterator[Value]:
    """The elements of a list; `float32[8] x 3` is three."""
    for part in _parts(text):
        run = _TENSOR.fullmatch(part)
        if run is not None and run[5] is not None:
            yield from (_tensor(run),) * int(run[5])
        else:
            yield _value(part)


def _tensor(match: re.Match[str]) -> TensorOperand:
    strides = None if match[3] is None else _numbers(match[3])
    return TensorOperand(match[1], _numbers(match[2]), strides, match[4] is not None)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, filter(None, text.split(","))))


def _parts(text: str) -> Iterator[str]:
    """Text between the commas that are in no brackets."""
    depth = start = 0
    for position, character in enumerate(text):
        if character in "[({":
            depth += 1
        elif character in "])}":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:position].strip()
            start = position + 1
    if last := text[start:].strip():
        yield last
