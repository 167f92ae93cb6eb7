"""The module of memory and communication, in forward and backward, by the name that the user knows."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.checkpoint import checkpoint

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate

pytestmark = pytest.mark.filterwarnings("ignore")

WIDTH = 64


class Marking(torch.autograd.Function):
    """Makes tensors of so many int16 elements in forward and in backward: the tests tell by the size where they were."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, count: int) -> torch.Tensor:
        ctx.count = count
        torch.empty(count, dtype=torch.int16, device="cuda")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:  # type: ignore[override]
        torch.empty(ctx.count, dtype=torch.int16, device="cuda")
        return gradient.clone(), None


class Marked(nn.Module):
    """A layer that marks where it is."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))
        self.count = count

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = Marking.apply(x * self.weight, self.count)
        return output


class Block(nn.Module):
    """Two layers, the second perhaps checkpointed, and code of its own."""

    def __init__(self, count: int, run: Callable[..., torch.Tensor] | None = None) -> None:
        super().__init__()
        self.inner, self.outer = Marked(count + 1), Marked(count + 2)
        self.run = run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(x)
        x = self.outer(x) if self.run is None else self.run(self.outer, x)
        return x.relu()


class Model(nn.Module):
    """Blocks in a list and in a sequence, and a layer that is called twice."""

    def __init__(self, run: Callable[..., torch.Tensor] | None = None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(10 * index, run) for index in (1, 2)])
        self.head = nn.Sequential(Marked(31), nn.ReLU())
        self.shared = Marked(41)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shared(x)
        for block in self.blocks:
            x = block(x)
        output: torch.Tensor = Marking.apply(self.shared(self.head(x)), 1)
        return output


NAMES = {
    1: "Model",
    11: "blocks.0.inner",
    12: "blocks.0.outer",
    21: "blocks.1.inner",
    22: "blocks.1.outer",
    31: "head.0",
    41: "shared",
}


def marks(simulation: Simulation) -> dict[str, dict[int, set[str | None]]]:
    """The modules of the marks of each size, by phase."""
    found: dict[str, dict[int, set[str | None]]] = {}
    for block in timeline_of(simulation.record(None).program).blocks:
        if block.dtype == "int16":
            found.setdefault(block.phase.value, {}).setdefault(block.shape[0], set()).add(block.module)
    return found


def step(model: Any) -> None:
    x = torch.ones(2, WIDTH, device="cuda", requires_grad=True)
    model(x).mean().backward()


def as_it_is(model: nn.Module) -> Any:
    return model


def ddp(model: nn.Module) -> Any:
    return nn.parallel.DistributedDataParallel(model)


def fsdp1(model: nn.Module) -> Any:
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.fsdp.wrap import ModuleWrapPolicy

    return FullyShardedDataParallel(model, auto_wrap_policy=ModuleWrapPolicy({Block}), use_orig_params=True)


def fsdp2(model: nn.Module) -> Any:
    from torch.distributed.fsdp import fully_shard

    assert isinstance(model, Model)
    for block in model.blocks:
        fully_shard(block)
    return fully_shard(model)


def compiled(model: nn.Module) -> Any:
    return torch.compile(model)


def compiled_in_place(model: nn.Module) -> Any:
    model.compile()
    return model


def compiled_blocks(model: nn.Module) -> Any:
    assert isinstance(model, Model)
    for index, block in enumerate(model.blocks):
        model.blocks[index] = torch.compile(block)  # type: ignore[assignment]
    return model


def compiled_ddp(model: nn.Module) -> Any:
    return torch.compile(ddp(model))


def checkpoint_wrapped(model: nn.Module) -> Any:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing

    apply_activation_checkpointing(model, check_fn=lambda module: isinstance(module, Block))
    return model


@pytest.mark.parametrize(
    "wrap",
    [as_it_is, ddp, fsdp1, fsdp2, compiled, compiled_in_place, compiled_blocks, compiled_ddp, checkpoint_wrapped],
    ids=lambda wrap: wrap.__name__,
)
def test_names_do_not_depend_on_wrappers(wrap: Callable[[nn.Module], Any], simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    model = wrap(Model().cuda())
    for _ in range(2):
        step(model)
    expected = {count: {name} for count, name in NAMES.items()}
    assert marks(simulation) == {"forward": expected, "backward": expected}


def again(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = checkpoint(layer, x, use_reentrant=False)
    return output


def again_reentrant(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = checkpoint(layer, x, use_reentrant=True)
    return output


@pytest.mark.parametrize("run", [again, again_reentrant])
def test_a_checkpointed_module_keeps_its_name(run: Callable[..., torch.Tensor], simulation: Simulation) -> None:
    model = Model(run).cuda()
    for _ in range(2):
        step(model)
    expected = {count: {name} for count, name in NAMES.items()}
    assert marks(simulation) == {"forward": expected, "backward": expected}


class Functional(nn.Module):
    """Checkpoints a function, which calls no module."""

    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.part = nn.Module()
        self.part.forward = lambda x: checkpoint(  # type: ignore[method-assign]
            lambda y: Marking.apply(Marking.apply(y.exp(), 5).exp(), 6).exp(), x, use_reentrant=use_reentrant
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.part(x)
        return output * 2


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpointed_function_belongs_to_its_module(use_reentrant: bool, simulation: Simulation) -> None:
    model = Functional(use_reentrant)
    for _ in range(2):
        step(model)
    expected = {5: {"part"}, 6: {"part"}}
    assert marks(simulation) == {"forward": expected, "backward": expected}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation(mode: Callable[[], Any], simulation: Simulation) -> None:
    model = Model().cuda().eval()
    with mode():
        model(torch.ones(2, WIDTH, device="cuda"))
    assert marks(simulation) == {"forward": {count: {name} for count, name in NAMES.items()}}


def test_outside_every_module(simulation: Simulation) -> None:
    model = Model().cuda()
    loss = Marking.apply(model(torch.ones(2, WIDTH, device="cuda")), 3).mean()
    loss.backward()
    found = marks(simulation)
    assert (found["forward"][3], found["backward"][3]) == ({None}, {None})


def test_a_part_called_before_the_whole(simulation: Simulation) -> None:
    model = Model().cuda()
    step(model.blocks[0])
    assert marks(simulation)["backward"] == {11: {"inner"}, 12: {"outer"}}
    step(model)
    assert marks(simulation)["backward"][11] == {"inner", "blocks.0.inner"}


def test_a_layer_that_is_added_later(simulation: Simulation) -> None:
    model = Model().cuda()
    step(model)
    model.head.append(Marked(51).cuda())
    step(model)
    assert marks(simulation)["backward"][51] == {"head.2"}


def test_each_root_has_the_name_of_its_class(simulation: Simulation) -> None:
    student, teacher = Model().cuda(), nn.Sequential(Marked(7)).cuda()
    (student(torch.ones(2, WIDTH, device="cuda")) + teacher(torch.ones(2, WIDTH, device="cuda"))).mean().backward()
    found = marks(simulation)["backward"]
    assert (found[1], found[7]) == ({"Model"}, {"0"})


def test_collectives_of_fsdp(simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    model = fsdp2(Model().cuda())
    for _ in range(2):
        step(model)
    seen = {(record.phase.value, record.op.value, record.module) for record in simulation.record(None).collectives}
    for block in ("blocks.0", "blocks.1"):
        assert ("forward", "all_gather_into_tensor", block) in seen
        assert ("backward", "reduce_scatter_tensor", block) in seen
    assert ("forward", "all_gather_into_tensor", "Model") in seen


def test_an_exception_in_a_module_leaves_no_state(simulation: Simulation) -> None:
    model = Model().cuda()
    with pytest.raises(RuntimeError):
        model(torch.ones(2, WIDTH + 1, device="cuda"))
    step(model)
    assert marks(simulation)["backward"] == {count: {name} for count, name in NAMES.items()}


def test_a_model_may_die(simulation: Simulation) -> None:
    before = torch.cuda.memory_allocated()
    model = Model().cuda()
    step(model)
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    del model, optimizer
    gc.collect()
    assert torch.cuda.memory_allocated() == before
