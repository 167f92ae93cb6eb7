"""Tells the memory trace what storages are for: parameters, buffers, gradients, optimizer state, by the module that owns them."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fakerun.records.memory import Category
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.modules import plain_name, root_name


class Roles:
    """Looks at modules when a forward pass begins and at optimizers around their steps."""

    def __init__(self, memory: MemoryTrace) -> None:
        self._memory = memory
        self._owners: dict[int, str] = {}  # by identity: tensors compare by value

    def of_module(self, root: nn.Module) -> None:
        """Parameters (as they are at rest: FSDP has not gathered them yet) and buffers of a tree of modules."""
        for name, parameter in root.named_parameters(remove_duplicate=True):
            owner = plain_name(name, root).rpartition(".")[0] or root_name(root)
            self._memory.mark(parameter, Category.PARAMETER, owner)
            self._owners[id(parameter)] = owner
        for name, buffer in root.named_buffers():
            self._memory.mark(buffer, Category.BUFFER, plain_name(name, root).rpartition(".")[0] or root_name(root))

    def of_gradients(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Parameters that optimizers hold, and their gradients."""
        for parameter in _parameters(optimizers):
            owner = self._owners.get(id(parameter))
            self._memory.mark(parameter, Category.PARAMETER, owner)
            if parameter.grad is not None:
                self._memory.mark(parameter.grad, Category.GRADIENT, owner)

    def of_state(self, optimizer: torch.optim.Optimizer) -> None:
        """Everything that an optimizer keeps between steps."""
        for parameter, state in optimizer.state.items():
            owner = self._owners.get(id(parameter))
            for tensor in _tensors(state):
                self._memory.mark(tensor, Category.OPTIMIZER_STATE, owner)


def _parameters(optimizers: Iterable[torch.optim.Optimizer]) -> Iterable[torch.Tensor]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]


def _tensors(state: Any) -> Iterable[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict):
        for value in state.values():
            yield from _tensors(value)
    elif isinstance(state, (list, tuple)):
        for value in state:
            yield from _tensors(value)
