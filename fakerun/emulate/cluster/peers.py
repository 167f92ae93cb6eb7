"""What a rank alone takes from its peers: they are like itself, so what one of them sends it is what it would send in that one's place.

The one place that knows no other rank is running. On the accelerator most tensors have no values; where they are known, and on the host,
sizes and counts that ranks exchange come out as they would among equals.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch

from fakerun.emulate.device.mode import DeviceMode
from fakerun.emulate.device.values import UnknownValues
from fakerun.emulate.torch_private import FakeTensor

_OF_EQUALS: dict[str | None, Callable[[torch.Tensor, int], Any]] = {
    "sum": lambda values, size: values.mul_(size),
    "product": lambda values, size: values.pow_(size),
    "bxor": lambda values, size: values.mul_(size % 2),
    **dict.fromkeys(("avg", "min", "max", "band", "bor"), lambda values, size: values),
}
"""What reducing as many equal values does to them, by operation. Of others (premul_sum, whose factor nobody tells) nothing is known."""


class SymmetricPeers:
    """Fills what communication receives, where values are known; forgets or makes up the rest."""

    def __init__(self, mode: DeviceMode, values: UnknownValues) -> None:
        self._mode = mode
        self._values = values

    def copy(self, target: torch.Tensor, source: torch.Tensor, *, part: tuple[int, int] | None = None) -> None:
        """`target` receives `source`, or the i-th of n equal parts of it."""
        values = self._mode.known.of(source)
        if values is not None and part is not None:
            values = values.flatten().chunk(part[1])[part[0]]
        self._receive(target, values, source)

    def repeat(self, target: torch.Tensor, source: torch.Tensor, times: int) -> None:
        """`target` receives `source` from each of `times` ranks, one after the other."""
        values = self._mode.known.of(source)
        self._receive(target, None if values is None else values.flatten().repeat(times), source)

    def exchange(self, outputs: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor], rank: int) -> None:
        """All-to-all of lists. Rank i sends its part j to rank j: what this rank would send as any other is its own part."""
        own = self._mode.known.of(inputs[rank])
        own = None if own is None else own.clone()  # an output may be an input
        for output in outputs:
            self._receive(output, own, inputs[rank])

    def exchange_parts(
        self, output: torch.Tensor, source: torch.Tensor, rank: int, size: int, sent: Sequence[int], received: Sequence[int]
    ) -> None:
        """All-to-all of one tensor's rows, `sent` to and `received` from each rank; equal parts if these are empty."""
        values = self._mode.known.of(source)
        if values is not None:
            own = _rows(values, rank, size, sent)
            fits = not received or set(received) == {own.shape[0]}  # else the peers are not like this rank: what they send is not known
            values = torch.cat([own] * size) if fits else None
        self._receive(output, values, source)

    def reduce(self, tensors: Sequence[torch.Tensor], reduce_op: str | None, size: int) -> None:
        """Reduce with `size - 1` peers that hold the same values."""
        for tensor in tensors:
            values = self._mode.known.of(tensor)
            if values is None or size == 1:
                continue
            if reduce_op not in _OF_EQUALS:
                self.arrive([tensor])
            elif values.dtype is not torch.bool:  # NCCL sums truth values by `or`: equal ones stay as they are
                _OF_EQUALS[reduce_op](values, size)

    def arrive(self, tensors: Sequence[torch.Tensor]) -> None:
        """`tensors` receive what one other rank alone knows."""
        for tensor in tensors:
            if type(tensor) is FakeTensor:
                self._mode.known.forget(tensor)
            else:
                self._values.fill(tensor, "what another rank sends")

    def _receive(self, target: torch.Tensor, values: torch.Tensor | None, source: torch.Tensor) -> None:
        """`target` receives `values`, which follow from those of `source`."""
        if not target.numel():
            return
        if values is None or values.numel() != target.numel():
            self.arrive([target])
        elif type(target) is not FakeTensor:
            target.copy_(values.reshape(target.shape))
        else:
            self._mode.known.remember(target, values.reshape(target.shape), assumed=self._mode.known.assumed(source))


def _rows(values: torch.Tensor, rank: int, size: int, splits: Sequence[int]) -> torch.Tensor:
    """The rows of `values` that go to `rank`."""
    if not splits:
        return values.chunk(size)[rank]
    end = list(accumulate(splits))[rank]
    return values[end - splits[rank] : end]
