"""What a training step is: one round of the training loop, whatever optimizers step in it, and how often.

Each program takes some rounds and marks the beginning of each with a block; a round must be the training step of its number.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.optim import _apply_optimizer_in_backward  # type: ignore[attr-defined]

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.rank.simulation import Simulation
from fakerun.rank.step_limit import StepLimitReached
from tests.in_process import Simulate
from tests.trace.seen import by_step

pytestmark = pytest.mark.filterwarnings("ignore")

ROUNDS = 3


def rounds(number: int | None = ROUNDS) -> Iterator[int]:
    """Count the rounds, and mark where each begins."""
    for turn in range(number) if number is not None else count():
        torch.empty(turn + 1, dtype=torch.int16, device="cuda")
        yield turn


def steps_of_rounds(simulation: Simulation) -> list[int]:
    """The training step that each round began in."""
    return [step for step, block in by_step(simulation) if block.dtype == "int16"]


def sgd(*sizes: int) -> list[torch.optim.Optimizer]:
    """An optimizer for each of so many models."""
    return [torch.optim.SGD(nn.Linear(size, 1, device="cuda").parameters(), lr=0.1, momentum=0.9) for size in sizes]


def train(optimizer: torch.optim.Optimizer) -> None:
    """Forward, backward and step of the optimizer's model."""
    weight, bias = optimizer.param_groups[0]["params"]
    (torch.ones(2, weight.shape[1], device="cuda") @ weight.T + bias).sum().backward()
    optimizer.step()
    optimizer.zero_grad()


# -- the rounds of a loop ----------------------------------------------------------------------------------------------------------


def gradient_accumulation(turns: Iterable[int]) -> None:
    (optimizer,) = sgd(4)
    weight, bias = optimizer.param_groups[0]["params"]
    for _ in turns:
        for _ in range(3):
            (torch.ones(2, 4, device="cuda") @ weight.T + bias).sum().backward()
        optimizer.step()


def a_scheduler_and_a_closure(turns: Iterable[int]) -> None:
    (optimizer,) = sgd(4)
    weight, _ = optimizer.param_groups[0]["params"]
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)

    def closure() -> float:
        weight.sum().backward()
        return 0.0

    for _ in turns:
        optimizer.step(closure)
        scheduler.step()


def one_optimizer_after_the_other(turns: Iterable[int]) -> None:
    optimizers = sgd(4, 5)
    for _ in turns:
        for optimizer in optimizers:
            train(optimizer)


def a_critic_that_steps_five_times(turns: Iterable[int]) -> None:
    critic, generator = sgd(4, 5)
    for _ in turns:
        for _ in range(5):
            train(critic)
        train(generator)


def a_generator_that_steps_twice(turns: Iterable[int]) -> None:
    critic, generator = sgd(4, 5)
    for _ in turns:
        train(critic)
        train(generator)
        train(generator)


def a_regularisation_step_now_and_then(turns: Iterable[int]) -> None:
    critic, generator = sgd(4, 5)
    for turn in turns:
        train(critic)
        train(generator)
        if turn % 2 == 0:
            train(generator)


def frozen_while_the_other_trains(turns: Iterable[int]) -> None:
    generator, critic = sgd(4, 5)
    for _ in turns:
        for parameter in critic.param_groups[0]["params"]:
            parameter.requires_grad_(False)
        train(generator)
        for parameter in critic.param_groups[0]["params"]:
            parameter.requires_grad_(True)
        train(critic)


def an_optimizer_that_never_steps(turns: Iterable[int]) -> None:
    used, unused = sgd(4, 5)
    for _ in turns:
        train(used)
    del unused


def an_optimizer_that_was_replaced(turns: Iterable[int]) -> None:
    (old,) = sgd(4)
    new = torch.optim.SGD(old.param_groups[0]["params"], lr=0.01)
    for _ in turns:
        train(new)
    del old


def epochs_with_a_smaller_last_batch(turns: Iterable[int]) -> None:
    """Each of an epoch's steps is one, and so is the one that is left for the rest."""
    (optimizer,) = sgd(4)
    turn = iter(turns)
    for _ in range(2):
        for _, _ in zip(range(2), turn, strict=False):
            train(optimizer)
        for _ in turn:
            train(optimizer)
            break


def one_optimizer_for_each_parameter(turns: Iterable[int]) -> None:
    """In backward, with a parameter that the loss does not reach."""
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).cuda()
    unreached = nn.Parameter(torch.ones(4, device="cuda"))
    optimizers: dict[Any, torch.optim.Optimizer] = {
        parameter: torch.optim.SGD([parameter], lr=0.1) for parameter in (*net.parameters(), unreached)
    }

    for parameter in net.parameters():
        parameter.register_post_accumulate_grad_hook(lambda parameter: optimizers[parameter].step())
    for _ in turns:
        net(torch.ones(2, 4, device="cuda")).sum().backward()


def torchs_optimizers_in_backward(turns: Iterable[int]) -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).cuda()
    _apply_optimizer_in_backward(torch.optim.SGD, net.parameters(), {"lr": 0.1})
    for _ in turns:
        net(torch.ones(2, 4, device="cuda")).sum().backward()


class Container(torch.optim.Optimizer):
    """One optimizer for several models, as torchtitan has it: an optimizer of all their parameters that steps those that it holds."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        super().__init__([parameter for each in optimizers for parameter in each.param_groups[0]["params"]], {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for optimizer in self.optimizers:
            optimizer.step()


def a_container_of_a_stages_optimizers(turns: Iterable[int]) -> None:
    optimizers = sgd(4, 5)
    container = Container(optimizers)
    for _ in turns:
        for optimizer in optimizers:
            weight, bias = optimizer.param_groups[0]["params"]
            (torch.ones(2, weight.shape[1], device="cuda") @ weight.T + bias).sum().backward()
        container.step()


def a_container_whose_optimizers_step_alone(turns: Iterable[int]) -> None:
    optimizers = sgd(4, 5)
    container = Container(optimizers)
    for _ in turns:
        for optimizer in optimizers:
            train(optimizer)
    del container


LOOPS: list[Callable[[Iterable[int]], None]] = [
    gradient_accumulation,
    a_scheduler_and_a_closure,
    one_optimizer_after_the_other,
    a_critic_that_steps_five_times,
    a_generator_that_steps_twice,
    a_regularisation_step_now_and_then,
    frozen_while_the_other_trains,
    an_optimizer_that_never_steps,
    an_optimizer_that_was_replaced,
    epochs_with_a_smaller_last_batch,
    one_optimizer_for_each_parameter,
    torchs_optimizers_in_backward,
    a_container_of_a_stages_optimizers,
    a_container_whose_optimizers_step_alone,
]


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_a_training_step_is_a_round_of_the_loop(loop: Callable[[Iterable[int]], None], simulation: Simulation) -> None:
    loop(rounds())
    record = simulation.record(None)
    assert steps_of_rounds(simulation) == list(range(ROUNDS))
    assert record.steps == len(timeline_of(record.program).step_ends) == ROUNDS


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_the_limit_stops_each_loop(loop: Callable[[Iterable[int]], None], simulate: Simulate) -> None:
    simulation = simulate(steps=2)
    with pytest.raises(StepLimitReached):
        loop(rounds(None))
    begun = steps_of_rounds(simulation)
    assert begun == list(range(len(begun)))
    # What waits to learn of a second optimizer, or of a second step of one, is stopped later.
    late = {"an_optimizer_that_never_steps": 9, "one_optimizer_for_each_parameter": 9, "a_regularisation_step_now_and_then": 3}
    assert len(begun) == late.get(loop.__name__, 2)


# -- phases of a program, and steps that torch takes ----------------------------------------------------------------------------------


def test_an_optimizer_that_begins_later_takes_part_from_then_on(simulation: Simulation) -> None:
    first, second = sgd(4, 5)
    for turn in rounds(14):
        train(first)
        if turn >= 10:
            train(second)
    assert steps_of_rounds(simulation) == list(range(14))
    assert simulation.record(None).steps == 14


def test_an_optimizer_that_steps_no_more_is_not_waited_for_forever(simulation: Simulation) -> None:
    first, second = sgd(4, 5)
    train(second)
    for _ in rounds(12):
        train(first)
    assert steps_of_rounds(simulation) == [0, *range(1, 12)]


def test_steps_that_initialise_an_optimizer_do_not_count(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    net = nn.Linear(4, 4).cuda()
    optimizer = torch.optim.AdamW(net.parameters())
    get_optimizer_state_dict(net, optimizer)
    assert optimizer.state
    for _ in rounds():
        net(torch.ones(2, 4, device="cuda")).sum().backward()
        optimizer.step()
        get_optimizer_state_dict(net, optimizer)
    record = simulation.record(None)
    assert steps_of_rounds(simulation) == list(range(ROUNDS))
    assert record.steps == ROUNDS
    blocks = timeline_of(record.program).blocks
    assert {block.category.value for block in blocks if block.shape == (4, 4) and block.phase == "optimizer"} >= {"optimizer_state"}
