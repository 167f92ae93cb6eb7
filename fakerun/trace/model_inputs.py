"""How many whole numbers (token ids, as a rule) the script hands to its models in each training step: what throughput is counted in."""

import weakref
from collections import Counter
from typing import Any

import torch
from torch import nn

from fakerun.records.run import ModelInput
from fakerun.trace.nested_tensors import tensors_in
from fakerun.trace.program_point import ProgramPoint


class ModelInputTrace:
    """The calls of whole models that may train them. A loss has no parameters: what it is called with are no inputs of a model."""

    def __init__(self, point: ProgramPoint) -> None:
        self._point = point
        self._models: weakref.WeakKeyDictionary[nn.Module, int | None] = weakref.WeakKeyDictionary()
        """Numbers of the models; None for modules without parameters."""
        self._model_count = 0
        self._calls: Counter[tuple[int, int, tuple[int, ...]]] = Counter()
        """By optimizer steps taken before, model, and shape."""

    def model_called(self, root: nn.Module, given: Any) -> None:
        """Note a call of a module that no other module called."""
        if not self._point.gradients_enabled or (model := self._number(root)) is None:
            return
        if (shape := _shape_of_tokens(given)) is not None:
            self._calls[self._point.optimizer_steps, model, shape] += 1

    def records(self) -> tuple[ModelInput, ...]:
        """The calls so far, by training step."""
        steps, calls = self._point.training_steps(), Counter[tuple[int, int, tuple[int, ...]]]()
        for (taken, model, shape), count in self._calls.items():
            calls[steps.of(taken), model, shape] += count
        return tuple(ModelInput(step=step, model=model, shape=shape, calls=count) for (step, model, shape), count in calls.items())

    def _number(self, root: nn.Module) -> int | None:
        if root not in self._models:
            is_model = any(True for _ in root.parameters())
            self._models[root] = self._model_count if is_model else None
            self._model_count += is_model
        return self._models[root]


def _shape_of_tokens(given: Any) -> tuple[int, ...] | None:
    """The shape of the largest tensor of whole numbers; None without one. A single axis beside real numbers has the labels of a batch."""
    tensors = list(tensors_in(given))
    least_axes = 2 if any(tensor.is_floating_point() for tensor in tensors) else 1
    counted = [tensor for tensor in tensors if _is_of_whole_numbers(tensor) and tensor.ndim >= least_axes]
    return tuple(max(counted, key=torch.Tensor.numel).shape) if counted else None


def _is_of_whole_numbers(tensor: torch.Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype is not torch.bool
