"""How device tensors are printed: as on CUDA, with placeholders for unknown values."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.unknown_values import UnknownValues
from fakerun.patching import Patches
from fakerun.torch_private import FakeTensor


@contextmanager
def cuda_repr(context: EmulationContext) -> Iterator[None]:
    """Replace how simulated tensors are printed until the context ends."""
    values = context.part(UnknownValues)

    def shown(self: torch.Tensor, *, tensor_contents: Any = None) -> str:
        text = repr(values.to_print(self))
        suffix = _suffix(self)
        head, dtype, tail = text.rpartition(", dtype=")
        text = f"{head}, device='{self.device}'{dtype}{tail}" if dtype else f"{text[:-1]}, device='{self.device}')"
        text = f"{text[:-1]}{suffix})"
        return f"Parameter containing:\n{text}" if isinstance(self, torch.nn.Parameter) else text

    def formatted(self: torch.Tensor, spec: str) -> str:
        return format(self.item(), spec) if self.dim() == 0 else object.__format__(self, spec)

    with Patches() as patches:
        patches.set(FakeTensor, "__repr__", shown)
        patches.set(FakeTensor, "__format__", formatted)
        yield


def _suffix(tensor: torch.Tensor) -> str:
    if tensor.grad_fn is not None:
        return f", grad_fn=<{tensor.grad_fn.name().removeprefix('torch::autograd::')}>"
    return ", requires_grad=True" if tensor.requires_grad else ""
