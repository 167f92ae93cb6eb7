"""Python's own pickle of simulated tensors: their metadata is written, and their values where known. The report says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import FakeTensor


@contextmanager
def simulated_pickling(context: EmulationContext) -> Iterator[None]:
    """Let simulated tensors be pickled, and copied with `copy.copy`, until the context ends."""

    def reduce(self: torch.Tensor, protocol: Any) -> Any:
        values = context.mode.known.of(self)
        if values is None:
            context.findings.note(
                FindingCode.NOT_SAVED,
                "the script pickles a device tensor whose values are unknown: only this run can load it.",
                hint="Use torch.save, which writes no such file in a dry run.",
            )
        described = (tuple(self.shape), self.stride(), self.dtype, str(self.device), self.requires_grad)
        return rebuild_tensor, (*described, isinstance(self, torch.nn.Parameter), None if values is None else values.clone())

    with Patches() as patches:
        patches.set(FakeTensor, "__reduce_ex__", reduce)
        yield


def rebuild_tensor(
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    dtype: torch.dtype,
    device: str,
    requires_grad: bool,
    is_parameter: bool,
    values: torch.Tensor | None,
) -> torch.Tensor:
    """The tensor that was pickled."""
    tensor = torch.empty_strided(shape, stride, dtype=dtype, device=device) if values is None else values.to(device)
    return torch.nn.Parameter(tensor, requires_grad) if is_parameter else tensor.requires_grad_(requires_grad)
