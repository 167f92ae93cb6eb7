"""Counts training steps: where one round of the training loop ends and the next begins.

A training step ends with the optimizer step that is the last of a round. Of one optimizer that is each of its steps. Of several it is the
one after which every optimizer that takes part has stepped, however often some of them step before that. Which ones take part, and
whether more of them follow in the same round, sometimes shows only later; so what is recorded notes how many optimizer steps were taken
before it, and `TrainingSteps` says in the end which training step that is.
"""

import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from fakerun.patching import Patches
from fakerun.records.training_steps import TrainingSteps
from fakerun.trace.loops import Position, is_same_round, position_of

_ROUNDS_WAITED = 8
"""Rounds that go by without an optimizer until it is taken not to take part: it was replaced, or is for another part of the program.

More than the five steps that a critic usually takes for one of the generator's (Arjovsky et al., Wasserstein GAN, 2017)."""

_MAKES_OWN_STEPS = "torch.distributed.checkpoint"
"""Makes an optimizer step, with gradients of zero, to have an optimizer's state for a checkpoint (`_init_optim_state`, 2.13)."""


class StepCounter:
    """Counts the optimizer steps that the script takes, and finds the training steps in them.

    A wrapping optimizer and the one inside it count once. Steps that torch takes to initialise an optimizer's state do not count. Listeners
    are called in order: `started` at the beginning of an optimizer's outermost step, `stepped` at the end of every optimizer's step (of
    those inside a wrapping one too: they hold the state), `taken_one` at the end of each that counts, `ended` when a training step is over
    (with the number of training steps completed).
    """

    def __init__(self) -> None:
        self.taken = 0
        self.depth = 0
        self.started: list[Callable[[torch.optim.Optimizer], None]] = []
        self.stepped: list[Callable[[torch.optim.Optimizer], None]] = []
        self.taken_one: list[Callable[[], None]] = []
        self.ended: list[Callable[[int], None]] = []
        self._counts = True
        self._ends: list[int] = []
        self._optimizers = _Optimizers()
        self._round = _Round()
        self._last_round = _Round()
        self._followed: set[Position] = set()
        """Where an optimizer step seemed to be the last of its round, and another one followed."""

    @property
    def completed(self) -> int:
        """Training steps completed."""
        return len(self.training_steps().ends)

    @property
    def rounds(self) -> int:
        """Training steps that are known to be completed; unlike `completed`, it may be asked from another thread."""
        return len(self._ends)

    @property
    def in_optimizer(self) -> bool:
        return self.depth > 0

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        """Every optimizer that the script made and still holds."""
        return tuple(self._optimizers.known)

    def training_steps(self) -> TrainingSteps:
        """As far as they are known now; an optimizer that has not stepped at all is taken not to take part."""
        if self._round.steps and not self._optimizers.is_waited_for(self._round, among=self._optimizers.used):
            return TrainingSteps((*self._ends, *self._round.came_round, self.taken))
        return TrainingSteps(tuple(self._ends))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the optimizers that are constructed and stepped meanwhile."""
        construct = torch.optim.Optimizer.__init__

        def construct_and_note(optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
            construct(optimizer, *args, **kwargs)
            self._optimizers.known.add(optimizer)

        handles = [register_optimizer_step_pre_hook(self._before), register_optimizer_step_post_hook(self._after)]
        try:
            with Patches() as patches:
                patches.set(torch.optim.Optimizer, "__init__", construct_and_note)
                yield
        finally:
            for handle in handles:
                handle.remove()

    def repeat(self, number: int) -> None:
        """The optimizer step after which `number` were taken happens again, unobserved."""
        ends_round = number in self._ends
        self._take_one()
        if ends_round:
            self._end_round()

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        frame = sys._getframe(1)
        self.depth = _steps_around(frame)
        if self.depth == 0:
            self._counts = not _is_torchs_own(frame)
            if self._counts:
                self._begin(optimizer, frame)
            for listener in self.started:
                listener(optimizer)
        self.depth += 1

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.depth -= 1
        for listener in self.stepped:
            listener(optimizer)
        if not self._counts:
            return
        self._optimizers.stepped(optimizer)
        self._round.add(optimizer)
        if self.depth:
            return
        self._take_one()
        if not self._optimizers.is_waited_for(self._round, among=self._optimizers.known) and self._round.position not in self._followed:
            self._end_round()

    def _begin(self, optimizer: torch.optim.Optimizer, frame: FrameType) -> None:
        """An optimizer step begins. It may show that the round was over before it, or that the last one was not."""
        position = position_of(frame) if len(self._optimizers.known) > 1 else ()
        if not self._round.steps:
            self._continue_last_round(optimizer, position)
        elif not self._optimizers.is_waited_for(self._round, among=self._optimizers.known):
            if not is_same_round(self._round.position, position):
                self._end_round()
        elif self._round.begin_again(optimizer, self.taken) >= _ROUNDS_WAITED:
            self._wait_no_longer()
        self._round.position = position

    def _continue_last_round(self, optimizer: torch.optim.Optimizer, position: Position) -> None:
        last = self._last_round
        may_follow = len(last.done) > 1 if optimizer in last.done else optimizer in self._optimizers.dismissed
        if may_follow and is_same_round(last.position, position):
            self._followed.add(last.position)
            self._ends.pop()
            self._round = last

    def _wait_no_longer(self) -> None:
        """Rounds went by without some of the optimizers, so these do not take part: what was one round is many."""
        self._optimizers.dismiss(self._round)
        self._ends.extend(self._round.came_round[:-1])
        self._end_round()

    def _take_one(self) -> None:
        self.taken += 1
        self._round.steps += 1
        for listener in self.taken_one:
            listener()

    def _end_round(self) -> None:
        self._ends.append(self.taken)
        self._last_round, self._round = self._round, _Round()
        for listener in self.ended:
            listener(len(self._ends))


class _Round:
    """The optimizer steps of one round so far."""

    def __init__(self) -> None:
        self.steps = 0
        self.done: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
        self.parameters: set[int] = set()
        """Those that the optimizers of the round update, by identity."""
        self.position: Position = ()
        """Where the last optimizer step began; empty while there is one optimizer."""
        self.came_round: list[int] = []
        """How many optimizer steps were taken each time when a loop came round, as the optimizer that stepped most says."""
        self._again: weakref.WeakKeyDictionary[torch.optim.Optimizer, list[int]] = weakref.WeakKeyDictionary()
        """The same for each optimizer that stepped again while others were waited for."""

    def add(self, optimizer: torch.optim.Optimizer) -> None:
        if optimizer not in self.done:
            self.done.add(optimizer)
            self.parameters.update(map(id, _parameters(optimizer)))

    def begin_again(self, optimizer: torch.optim.Optimizer, taken: int) -> int:
        """An optimizer steps while others are waited for; how often it has stepped in the round before."""
        if optimizer not in self.done:
            return 0
        again = self._again.setdefault(optimizer, [])
        again.append(taken)
        self.came_round = max(self.came_round, again, key=len)
        return len(again)


class _Optimizers:
    """The optimizers that the script made and still holds, those that ever stepped, and those that nobody waits for any more."""

    def __init__(self) -> None:
        self.known: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
        self.used: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()
        self.dismissed: weakref.WeakSet[torch.optim.Optimizer] = weakref.WeakSet()

    def is_waited_for(self, round_: _Round, *, among: "weakref.WeakSet[torch.optim.Optimizer]") -> bool:
        """Whether one of these has yet to step in the round: one that updates a parameter that no other has updated in it."""
        return any(
            optimizer not in round_.done
            and optimizer not in self.dismissed
            and any(id(parameter) not in round_.parameters for parameter in _parameters(optimizer))
            for optimizer in among
        )

    def stepped(self, optimizer: torch.optim.Optimizer) -> None:
        self.used.add(optimizer)
        self.dismissed.discard(optimizer)

    def dismiss(self, round_: _Round) -> None:
        """Wait for none of those that have not stepped in the round, until they step."""
        self.dismissed = weakref.WeakSet(optimizer for optimizer in self.known if optimizer not in round_.done)


def _parameters(optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _steps_around(step: FrameType) -> int:
    """How many optimizer steps the one of this frame is in. Counting hooks would not do: a step that raises never runs its last ones."""
    count, frame = 0, step.f_back
    while frame is not None:
        count += frame.f_code is step.f_code
        frame = frame.f_back
    return count


def _is_torchs_own(step: FrameType) -> bool:
    """Whether torch takes this step for itself."""
    caller = step.f_back
    while caller is not None and (name := caller.f_globals.get("__name__", "")).startswith("torch."):
        if name.startswith(_MAKES_OWN_STEPS):
            return True
        caller = caller.f_back
    return False
