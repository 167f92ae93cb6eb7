"""Where in the program the rank is: step, phase, module, line of the user's file."""

from enum import Enum, auto

import torch
from torch import nn

from fakerun.call_site import CallSite
from fakerun.records.collective import Phase
from fakerun.records.observer import AutogradClock
from fakerun.records.training_steps import TrainingSteps
from fakerun.trace.call_sites import CallSiteFinder
from fakerun.trace.grad_mode import GradMode
from fakerun.trace.modules import ModuleStack
from fakerun.trace.steps import StepCounter


class _Stage(Enum):
    """How far the current training step has come, as seen from outside modules, backward and optimizer."""

    PREPARING = auto()
    FORWARD = auto()
    FINISHING = auto()


class ProgramPoint:
    """Answers where the program is. A step is forward from its first module call until backward begins: the loss belongs to it.

    An optimizer may run forward and backward itself (the closure that LBFGS is given), and backward may run optimizers (from hooks):
    what began last counts.
    """

    def __init__(
        self, clock: AutogradClock, grad_mode: GradMode, modules: ModuleStack, steps: StepCounter, call_sites: CallSiteFinder
    ) -> None:
        self._clock = clock
        self._grad_mode = grad_mode
        self._modules = modules
        self._steps = steps
        self._call_sites = call_sites
        self._stage = _Stage.PREPARING
        self._optimizer_called_in = (0, False)
        """How many modules were running, and whether backward was, when the running optimizer began."""
        modules.root_entered.append(self._on_root_entered)
        steps.started.append(self._on_optimizer_started)
        steps.ended.append(self._on_step_ended)

    @property
    def optimizer_steps(self) -> int:
        """How many the script has taken; `training_steps` says which training step that is."""
        return self._steps.taken

    def training_steps(self) -> TrainingSteps:
        return self._steps.training_steps()

    @property
    def in_module(self) -> bool:
        """Whether some module's forward is running."""
        return self._modules.depth > 0

    @property
    def gradients_enabled(self) -> bool:
        """Whether what forward makes now may be kept for backward."""
        return self._grad_mode.enabled()

    def phase(self) -> Phase:
        in_optimizer = self._steps.in_optimizer
        depth, called_in_backward = self._optimizer_called_in if in_optimizer else (0, False)
        if self._clock.in_backward() and not called_in_backward:
            self._stage = _Stage.FINISHING
            return Phase.BACKWARD
        if self._modules.depth > depth or self._stage is _Stage.FORWARD:
            return Phase.FORWARD
        return Phase.OPTIMIZER if in_optimizer else Phase.OTHER

    def module(self) -> str | None:
        return self._modules.current()

    def call_site(self) -> CallSite | None:
        return self._call_sites.here()

    def _on_root_entered(self, root: nn.Module) -> None:
        if self.gradients_enabled:
            self._stage = _Stage.FORWARD

    def _on_optimizer_started(self, optimizer: torch.optim.Optimizer) -> None:
        self._stage = _Stage.FINISHING
        self._optimizer_called_in = (self._modules.depth, self._clock.in_backward())

    def _on_step_ended(self, completed: int) -> None:
        self._stage = _Stage.PREPARING
