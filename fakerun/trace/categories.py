"""Categorises storages for the memory trace: parameters, buffers, gradients, optimizer state, by the module that owns them."""

import gc
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from fakerun.records.memory import Category
from fakerun.torch_private import MODULE_PARTS
from fakerun.trace.memory import MemoryTrace
from fakerun.trace.modules import plain_name, root_name
from fakerun.trace.nested_tensors import tensors_in


class CategoryTracker:
    """Categorises the tensors of modules when a forward pass begins, and of optimizers around their steps."""

    def __init__(self, memory: MemoryTrace) -> None:
        self._memory = memory
        self._roots: weakref.WeakSet[nn.Module] = weakref.WeakSet()
        self._owners: dict[int, str] = {}  # by identity: tensors compare by value

    def categorise_module(self, root: nn.Module) -> None:
        """Parameters (as they are at rest: FSDP has not gathered them yet), their gradients, and buffers of a tree of modules."""
        self._roots.add(root)
        for name, parameter in root.named_parameters(remove_duplicate=True):
            owner = plain_name(name, root).rpartition(".")[0] or root_name(root)
            self._owners[id(parameter)] = owner
            self._categorise_parameter(parameter)
        for name, buffer in root.named_buffers():
            self._memory.categorise(buffer, Category.BUFFER, plain_name(name, root).rpartition(".")[0] or root_name(root))

    def categorise_gradients(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Parameters that optimizers hold, and their gradients."""
        for parameter in _parameters(optimizers):
            self._categorise_parameter(parameter)

    def categorise_inputs(self, given: Any) -> None:
        """What the script calls a model with."""
        for tensor in tensors_in(given):
            self._memory.categorise_input(tensor)

    def categorise_all_modules(self) -> None:
        """All modules as they are now.

        Modules that were called have gradients even if no optimizer steps. Modules that were never called (an average of the model, a
        part of a frozen one) were not observed, so they are found among all live objects.
        """
        for root in _never_called(self._roots):
            self.categorise_module(root)
        for root in tuple(self._roots):
            self.categorise_module(root)

    def _categorise_parameter(self, parameter: torch.Tensor) -> None:
        owner = self._owners.get(id(parameter))
        self._memory.categorise(parameter, Category.PARAMETER, owner)
        if parameter.grad is not None:
            self._memory.categorise(parameter.grad, Category.GRADIENT, owner)

    def categorise_state(self, optimizer: torch.optim.Optimizer) -> None:
        """Everything that an optimizer keeps between steps."""
        for parameter, state in optimizer.state.items():
            owner = self._owners.get(id(parameter))
            for tensor in tensors_in(state):
                self._memory.categorise(tensor, Category.OPTIMIZER_STATE, owner)


def _never_called(called: Iterable[nn.Module]) -> list[nn.Module]:
    """The trees of modules that are alive and in none of those that were called."""
    known = {id(part) for root in called for part in root.modules()}
    # By type: `isinstance` would ask proxies for their `__class__`, which may load what they stand for.
    others = [thing for thing in gc.get_objects() if issubclass(type(thing), nn.Module) and id(thing) not in known and _is_made(thing)]
    parts = {id(part) for module in others for part in module.children()}
    return [module for module in others if id(module) not in parts]


def _is_made(module: nn.Module) -> bool:
    """False of one whose `nn.Module.__init__` did not run."""
    return MODULE_PARTS in vars(module)


def _parameters(optimizers: Iterable[torch.optim.Optimizer]) -> Iterable[torch.Tensor]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            yield from group["params"]
