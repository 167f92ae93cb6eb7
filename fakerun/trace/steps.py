"""Counts optimizer steps: where one training step ends and the next begins."""

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from fakerun.patching import Patches


class StepCounter:
    """A training step ends when every optimizer of the script has stepped once, or when one of them steps again.

    A wrapping optimizer and the one inside it count once. Listeners are called in order: `started` at the beginning of an optimizer's
    outermost step, `stepped` at the end of every optimizer's step (of those inside a wrapping one too: they hold the state), `ended` when
    the training step is over (with the number of steps completed).
    """

    def __init__(self) -> None:
        self.completed = 0
        self.depth = 0
        self.started: list[Callable[[torch.optim.Optimizer], None]] = []
        self.stepped: list[Callable[[torch.optim.Optimizer], None]] = []
        self.ended: list[Callable[[int], None]] = []
        self._known: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
        self._done: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()

    @property
    def in_optimizer(self) -> bool:
        return self.depth > 0

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        """Every optimizer that the script made and still holds."""
        return tuple(self._known)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the optimizers that are constructed and stepped meanwhile."""
        construct = torch.optim.Optimizer.__init__

        def construct_and_note(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
            construct(optimizer, *args, **kwargs)
            self._known.add(optimizer)

        handles = [register_optimizer_step_pre_hook(self._before), register_optimizer_step_post_hook(self._after)]
        try:
            with Patches() as patches:
                patches.set(torch.optim.Optimizer, "__init__", construct_and_note)
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.depth = _steps_around(sys._getframe(1))
        if self.depth == 0:
            if optimizer in self._done:
                self.end_step()
            for listener in self.started:
                listener(optimizer)
        self.depth += 1

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.depth -= 1
        self._done.add(optimizer)
        for listener in self.stepped:
            listener(optimizer)
        if self.depth:
            return
        if all(known in self._done for known in self._known):
            self.end_step()

    def end_step(self) -> None:
        """A training step is over."""
        self._done.clear()
        self.completed += 1
        for listener in self.ended:
            listener(self.completed)


def _steps_around(step: FrameType) -> int:
    """How many optimizer steps the one of this frame is in. Counting hooks would not do: a step that raises never runs its last ones."""
    count, frame = 0, step.f_back
    while frame is not None:
        count += frame.f_code is step.f_code
        frame = frame.f_back
    return count
