"""Steps and phases: the limits of training steps, and what the rank was doing."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.rank.simulation import Simulation
from fakerun.rank.step_limit import StepLimitReached
from tests.in_process import Simulate
from tests.trace.seen import by_step, watch

pytestmark = pytest.mark.filterwarnings("ignore")


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)).cuda()


def batch() -> torch.Tensor:
    return torch.ones(2, 4).cuda()


def probe(count: int) -> None:
    """Make a tensor of so many int16 elements: the tests tell by the size where they were."""
    torch.empty(count, dtype=torch.int16, device="cuda")


def probes(simulation: Simulation) -> dict[int, tuple[int, str]]:
    """Step and phase of the last probe of each size."""
    return {block.shape[0]: (step, block.phase.value) for step, block in by_step(simulation) if block.dtype == "int16"}


# -- one training loop after another ------------------------------------------------------------------------------------------


def test_a_plain_loop(simulation: Simulation) -> None:
    probe(1)
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net[1].register_forward_hook(lambda *args: probe(3))
    next(net.parameters()).register_hook(lambda gradient: probe(5))
    optimizer.register_step_pre_hook(lambda *args: probe(8))
    for step in range(2):
        x = batch()
        probe(2 + 100 * step)
        loss = net(x).pow(2).mean()
        probe(4 + 100 * step)
        loss.backward()
        probe(6 + 100 * step)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        probe(7 + 100 * step)
        optimizer.step()
        probe(9 + 100 * step)
        optimizer.zero_grad()

    assert probes(simulation) == {
        1: (0, "other"),
        2: (0, "other"),
        3: (1, "forward"),  # the later of the two steps
        4: (0, "forward"),  # the loss belongs to forward
        5: (1, "backward"),
        6: (0, "other"),
        7: (0, "other"),
        8: (1, "optimizer"),
        9: (1, "other"),
        102: (1, "other"),
        104: (1, "forward"),
        106: (1, "other"),
        107: (1, "other"),
        109: (2, "other"),
    }


def test_gradient_accumulation(simulation: Simulation) -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    for part in range(1, 4):
        x = batch()
        probe(10 * part)
        loss = net(x).mean() / 3
        probe(10 * part + 1)
        loss.backward()
        probe(10 * part + 2)
    optimizer.step()
    probe(99)

    other, forward = (0, "other"), (0, "forward")
    assert probes(simulation) == {
        **{10 * part: other for part in (1, 2, 3)},
        **{10 * part + 1: forward for part in (1, 2, 3)},
        **{10 * part + 2: other for part in (1, 2, 3)},
        99: (1, "other"),
    }


def test_evaluation_between_steps(simulation: Simulation) -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    net(batch()).mean().backward()
    optimizer.step()
    with torch.no_grad():
        for _ in range(2):
            output = net.eval()(batch())
            probe(1)
            nn.MSELoss()(output, batch())
            probe(2)
    net.train()
    probe(3)
    net(batch()).mean().backward()
    optimizer.step()

    assert probes(simulation) == {1: (1, "other"), 2: (1, "other"), 3: (1, "other")}


def test_a_frozen_teacher_does_not_end_the_forward_pass(simulation: Simulation) -> None:
    student, teacher, x = model(), model(), batch()
    output = student(x)
    with torch.no_grad():
        target = teacher(x)
    probe(1)
    (output - target).pow(2).mean().backward()

    assert probes(simulation) == {1: (0, "forward")}


def test_a_whole_model_checkpointed(simulation: Simulation) -> None:
    net = model()
    for use_reentrant in (False, True):
        x = batch().requires_grad_()
        loss = torch.utils.checkpoint.checkpoint(net, x, use_reentrant=use_reentrant).mean()
        probe(1 + use_reentrant)
        loss.backward()
        probe(3 + use_reentrant)

    assert probes(simulation) == {1: (0, "forward"), 2: (0, "forward"), 3: (0, "other"), 4: (0, "other")}


def test_an_optimizer_that_is_given_a_closure(simulation: Simulation) -> None:
    net = model()
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=2)
    net[1].register_forward_hook(lambda *args: probe(2))
    next(net.parameters()).register_hook(lambda gradient: probe(4))
    x = batch()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        probe(1)
        loss: torch.Tensor = net(x).mean()
        probe(3)
        loss.backward()
        probe(5)
        return loss

    optimizer.step(closure)
    probe(6)

    assert probes(simulation) == {
        1: (0, "optimizer"),
        2: (0, "forward"),
        3: (0, "forward"),
        4: (0, "backward"),
        5: (0, "optimizer"),
        6: (1, "other"),
    }


def test_optimizers_that_step_in_backward(simulation: Simulation) -> None:
    net = model()
    optimizers = {parameter: torch.optim.AdamW([parameter], foreach=False) for parameter in net.parameters()}

    def step(parameter: Any) -> None:
        probe(1)
        optimizers[parameter].register_step_pre_hook(lambda *args: probe(2))
        optimizers[parameter].step()
        probe(3)
        optimizers[parameter].zero_grad()

    for parameter in net.parameters():
        parameter.register_post_accumulate_grad_hook(step)
    net(batch()).mean().backward()
    probe(4)
    net(batch()).mean().backward()
    probe(5)

    seen = probes(simulation)
    assert seen == {1: (1, "backward"), 2: (1, "optimizer"), 3: (2, "backward"), 4: (1, "other"), 5: (2, "other")}


def test_an_optimizer_step_inside_a_module(simulation: Simulation) -> None:
    class Task(nn.Module):
        """As trainers do that call everything through one module."""

        def __init__(self) -> None:
            super().__init__()
            self.net = model()
            self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
            self.optimizer.register_step_pre_hook(lambda *args: probe(2))

        def forward(self, x: torch.Tensor) -> None:
            loss = self.net(x).mean()
            probe(1)
            loss.backward()
            self.optimizer.step()

    Task()(batch())
    assert probes(simulation) == {1: (0, "forward"), 2: (0, "optimizer")}


# -- how many steps ------------------------------------------------------------------------------------------


def one_optimizer() -> None:
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    for _ in range(3):
        net(batch()).mean().backward()
        optimizer.step()


def two_alternating() -> None:
    """Generator and discriminator."""
    generator, critic = model(), model()
    optimizers = [torch.optim.AdamW(net.parameters()) for net in (critic, generator)]
    for _ in range(3):
        fake = generator(batch())
        critic(fake.detach()).mean().backward()
        optimizers[0].step()
        critic(fake).mean().backward()
        optimizers[1].step()


def a_scaler() -> None:
    net = model()
    optimizer, scaler = torch.optim.AdamW(net.parameters()), torch.amp.GradScaler("cuda")
    for _ in range(3):
        with torch.autocast("cuda", torch.float16):
            loss = net(batch()).mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()


def a_closure() -> None:
    net = model()
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=3)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = net(batch()).mean()
        loss.backward()
        return loss

    for _ in range(3):
        optimizer.step(closure)


def an_optimizer_in_an_optimizer() -> None:
    dist.init_process_group("nccl")
    net = model()
    optimizer = ZeroRedundancyOptimizer(net.parameters(), torch.optim.AdamW)
    for _ in range(3):
        net(batch()).mean().backward()
        optimizer.step()


class Doubled(torch.optim.SGD):
    """A user's optimizer, which steps as its base does and then once more."""

    def step(self, closure: Any = None) -> Any:
        super().step(closure)
        return super().step(closure)


def a_users_optimizer() -> None:
    net = model()
    torch.optim.SGD(net.parameters(), lr=1.0)  # gives SGD.step its hooks
    optimizer = Doubled(net.parameters(), lr=0.1)
    for _ in range(3):
        net(batch()).mean().backward()
        optimizer.step()


def a_replaced_optimizer() -> None:
    net = model()
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(net.parameters())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        net(batch()).mean().backward()
        optimizer.step()


def a_failing_step() -> None:
    """What a script catches must not be counted, nor spoil what follows."""
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    for attempt in range(4):
        net(batch()).mean().backward()
        if attempt:
            optimizer.step()
        else:
            with pytest.raises(ZeroDivisionError):
                optimizer.step(lambda: 1 / 0)


@pytest.mark.parametrize(
    ("train", "steps"),
    [
        (one_optimizer, 3),
        (two_alternating, 3),
        (a_scaler, 3),
        (a_closure, 3),
        (an_optimizer_in_an_optimizer, 3),
        (a_users_optimizer, 3),
        (a_replaced_optimizer, 3),
        (a_failing_step, 3),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_steps(train: Callable[[], None], steps: int, simulation: Simulation) -> None:
    train()
    record = simulation.record(None)
    assert record.steps == len(timeline_of(record.program).step_ends) == steps
    probe(1)
    assert probes(simulation) == {1: (steps, "other")}


@pytest.mark.parametrize("train", [one_optimizer, two_alternating, a_closure, a_scaler], ids=lambda train: train.__name__)
def test_the_step_limit_ends_the_script_once(train: Callable[[], None], simulate: Simulate) -> None:
    simulation = simulate(steps=2)
    with pytest.raises(StepLimitReached) as stop:
        train()
    record = simulation.record(None)
    assert (stop.value.steps, record.steps) == (2, 2)
    assert len(timeline_of(record.program).step_ends) == 2
    assert timeline_of(record.program).step_ends[-1] == len(timeline_of(record.program).events)


# -- collectives ------------------------------------------------------------------------------------------


def test_phases_of_collectives(simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    net = nn.parallel.DistributedDataParallel(model())
    optimizer = torch.optim.AdamW(net.parameters())
    for _ in range(3):  # in the second, DDP arranges its buckets anew
        with watch(simulation) as seen:
            loss = net(batch()).mean()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            dist.all_reduce(norm)
            optimizer.step()
            dist.all_reduce(loss)
    assert [(record.step, record.phase.value) for record in seen.collectives] == [(2, "backward"), (2, "other"), (3, "other")]
