"""Where in the program the rank is: step, phase, module, line of the user's file."""

from enum import Enum, auto

import torch
from torch import nn

from fakerun.records.collective import Phase
from fakerun.records.observer import AutogradClock
from fakerun.trace.call_site import CallSites
from fakerun.trace.modules import ModuleStack
from fakerun.trace.steps import StepCounter


class _Stage(Enum):
    """How far the current training step has come, as seen from outside modules, backward and optimizer."""

    PREPARING = auto()
    FORWARD = auto()
    FINISHING = auto()


class Position:
    """Answers where the program is. A step is forward from its first module call until backward begins: the loss belongs to it."""

    def __init__(self, clock: AutogradClock, modules: ModuleStack, steps: StepCounter, call_sites: CallSites) -> None:
        self._clock = clock
        self._modules = modules
        self._steps = steps
        self._call_sites = call_sites
        self._stage = _Stage.PREPARING
        modules.root_entered.append(self._on_root_entered)
        modules.root_left.append(self._on_root_left)
        steps.ended.append(self._on_step_ended)

    @property
    def step(self) -> int:
        return self._steps.completed

    @property
    def preparing(self) -> bool:
        """Whether the training step has not reached its forward pass: setup, loading data."""
        return self._stage is _Stage.PREPARING

    def phase(self) -> Phase:
        if self._steps.in_optimizer:
            self._stage = _Stage.FINISHING
            return Phase.OPTIMIZER
        if self._clock.in_backward():
            self._stage = _Stage.FINISHING
            return Phase.BACKWARD
        if self._modules.inside or self._stage is _Stage.FORWARD:
            return Phase.FORWARD
        return Phase.OTHER

    def module(self) -> str | None:
        return self._modules.current()

    def call_site(self) -> str | None:
        return self._call_sites.here()

    def _on_root_entered(self, root: nn.Module) -> None:
        if torch.is_grad_enabled():
            self._stage = _Stage.FORWARD

    def _on_root_left(self) -> None:
        if not torch.is_grad_enabled() and self._stage is _Stage.FORWARD:
            self._stage = _Stage.PREPARING

    def _on_step_ended(self, completed: int) -> None:
        self._stage = _Stage.PREPARING
