"""The values that ranks contribute to a communication call: their parts, their encoding as bytes, and their reduction."""

import ctypes
import math
import pickle
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import accumulate

import torch

from fakerun.emulate.device.known_values import NOTHING

Values = Sequence[torch.Tensor]

_COMPRESSED_FROM_BYTES = 2**16
"""Large contributions are mostly zeros: a buffer of which the program has written the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """The input of one rank to a call; `splits` are an all-to-all's. `assumed` says which assumptions the values follow from."""

    values: Values
    assumed: int = NOTHING
    splits: Sequence[int] | None = None

    @property
    def nbytes(self) -> int:
        return sum(value.numel() * value.element_size() for value in self.values)

    def share(self, index: int, count: int) -> "Contribution":
        """What belongs to one of `count` outputs: as many tensors for each."""
        each = len(self.values) // count
        return Contribution(values=self.values[index * each : (index + 1) * each])

    def part(self, rank: int, size: int) -> torch.Tensor:
        """What goes to the member `rank` of `size`: its tensor of a list, or its rows of a single tensor."""
        if len(self.values) == size and size > 1:
            return self.values[rank]
        (rows,) = self.values
        if not self.splits:
            return rows.chunk(size)[rank] if rows.dim() and rows.shape[0] % size == 0 else rows.flatten().chunk(size)[rank]
        end = list(accumulate(self.splits))[rank]
        return rows[end - self.splits[rank] : end]


def encode(contribution: Contribution) -> bytes:
    """As bytes, for the other ranks."""
    tensors = [(str(value.dtype).removeprefix("torch."), tuple(value.shape), _bytes(value.contiguous())) for value in contribution.values]
    data = pickle.dumps((tensors, contribution.splits, contribution.assumed))
    return data if len(data) < _COMPRESSED_FROM_BYTES else zlib.compress(data, level=1)


def decode(data: bytes) -> Contribution:
    """What `encode` made bytes of."""
    tensors, splits, assumed = pickle.loads(data if data[:1] == pickle.PROTO else zlib.decompress(data))
    return Contribution(values=[_tensor(*each) for each in tensors], splits=splits, assumed=assumed)


def _bytes(values: torch.Tensor) -> bytes:
    return ctypes.string_at(values.data_ptr(), values.numel() * values.element_size()) if values.numel() else b""


def _tensor(dtype: str, shape: tuple[int, ...], data: bytes) -> torch.Tensor:
    kind = getattr(torch, dtype)
    if not math.prod(shape):
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(bytearray(data), dtype=kind).reshape(shape)


# -- reductions ------------------------------------------------------------------------------------------------------------------------

Weighted = Sequence[tuple[torch.Tensor, int]]
"""Values, and how many members contribute them."""


def _sum(values: Weighted) -> torch.Tensor:
    return reduce(torch.add, [value * times for value, times in values])


def _mean(values: Weighted) -> torch.Tensor:
    total, count = _sum(values), sum(times for _, times in values)
    return total / count if total.is_floating_point() or total.is_complex() else total // count


def _folded(operation: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Callable[[Weighted], torch.Tensor]:
    """An operation that equal values do not change."""
    return lambda values: reduce(operation, [value for value, _ in values])


_REDUCTIONS: dict[str | None, Callable[[Weighted], torch.Tensor]] = {
    "sum": _sum,
    "avg": _mean,
    "product": lambda values: reduce(torch.mul, [value**times for value, times in values]),
    "min": _folded(torch.minimum),
    "max": _folded(torch.maximum),
    "band": _folded(torch.bitwise_and),
    "bor": _folded(torch.bitwise_or),
    "bxor": lambda values: reduce(torch.bitwise_xor, [value * (times % 2) for value, times in values]),
}
"""The result of others (premul_sum, whose factor is unknown) is unknown."""


def reduced(operation: str | None, values: Values) -> torch.Tensor | None:
    """NCCL's `operation` over one tensor of each member; None if the result is unknown."""
    if operation not in _REDUCTIONS or len({value.shape for value in values}) > 1:
        return None
    if values[0].dtype is torch.bool and operation in ("sum", "avg"):
        operation = "bor"  # NCCL sums truth values so
    times = Counter(map(id, values))
    of_id = {id(value): value for value in values}
    return _REDUCTIONS[operation]([(of_id[each], count) for each, count in times.items()])
