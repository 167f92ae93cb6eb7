"""The contexts of the emulation: the stated order is enforced and needed, no other order is, and no two contexts set one attribute."""

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

from fakerun.emulate import emulation
from fakerun.emulate.driver.accelerator import accelerator_facade
from fakerun.emulate.order import Enter, Precedence, check_order
from fakerun.patching import Patches
from fakerun.rank.simulation import Simulation
from fakerun.records.run import RankRecord
from tests.in_process import simulation_of


def tests_of_a_size(simulation: Simulation) -> int:
    """How many tests of the rank are seen where a tensor has a size that depends on it."""
    torch.empty(dist.get_node_local_rank() + 1)
    return len(simulation.record(None).rank_tests)


SYMPTOMS: dict[str, Callable[[Simulation], Any]] = {
    accelerator_facade.__name__: lambda _: torch.accelerator.synchronize(),
    "_torch_functions": tests_of_a_size,
}
"""What goes wrong in an order that breaks a precedence, by the context that is entered too early."""


def obeying(contexts: Sequence[Enter], precedences: Sequence[Precedence]) -> tuple[Enter, ...]:
    """The contexts in this order, but for those that must come after one that would come later."""
    ordered = list(contexts)
    for precedence in precedences:
        if ordered.index(precedence.first) > ordered.index(precedence.then):
            ordered.remove(precedence.then)
            ordered.insert(ordered.index(precedence.first) + 1, precedence.then)
    return tuple(ordered)


def swapped(precedence: Precedence) -> tuple[Enter, ...]:
    """The contexts of the emulation, with these two in each other's place."""
    other = {precedence.first: precedence.then, precedence.then: precedence.first}
    return tuple(other.get(enter, enter) for enter in emulation.CONTEXTS)


@pytest.mark.parametrize("precedence", emulation.ORDER, ids=lambda precedence: precedence.then.__name__)
def test_an_order_that_breaks_a_precedence_is_refused(precedence: Precedence) -> None:
    with pytest.raises(ValueError, match="must be entered before"):
        check_order(swapped(precedence), emulation.ORDER)


@pytest.mark.parametrize("precedence", emulation.ORDER, ids=lambda precedence: precedence.then.__name__)
def test_each_precedence_matters(precedence: Precedence, monkeypatch: pytest.MonkeyPatch) -> None:
    symptom = SYMPTOMS[precedence.then.__name__]
    monkeypatch.setenv("LOCAL_RANK", "0")
    with simulation_of(auto_ranks=True, ranks=())[0] as simulation:
        expected = symptom(simulation)
    monkeypatch.setattr(emulation, "CONTEXTS", swapped(precedence))
    with simulation_of(auto_ranks=True, ranks=())[0] as simulation:
        try:
            found = symptom(simulation)
        except (AttributeError, AssertionError, RuntimeError):  # what the build without a driver says
            return
    assert found != expected


def train(rank: int = 0) -> RankRecord:
    """What the order could make a difference to: loaders, threads, meshes, groups, wrappers, saved files, printed tensors."""
    with simulation_of(rank)[0] as simulation:
        dist.init_process_group("nccl", device_id=torch.device("cuda:0"), rank=rank, world_size=2)
        mesh = init_device_mesh("cuda", (2,), mesh_dim_names=("dp",))
        model: Any = fully_shard(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)).to(0), mesh=mesh)
        optimizer = torch.optim.AdamW(model.parameters())
        loader = DataLoader(TensorDataset(torch.randn(4, 8)), batch_size=2, num_workers=1, pin_memory=True)
        for (batch,) in loader:
            with torch.autocast("cuda", dtype=torch.bfloat16):
                loss = model(batch.cuda()).sum()
            loss.backward()
            optimizer.step()
        print(loss)
        torch.accelerator.synchronize()
        thread = threading.Thread(target=lambda: torch.ones(4, device="cuda").sum().item())
        thread.start()
        thread.join()
        dist.broadcast_object_list([{"rank": rank}], src=0)
        dist.new_group([0])
        torch.compile(nn.Linear(8, 8).cuda())(torch.randn(1, 8, device="cuda"))
        return simulation.record(None)


def test_no_other_order_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    as_listed = train()
    reversed_ = obeying(emulation.CONTEXTS[::-1], emulation.ORDER)
    check_order(reversed_, emulation.ORDER)
    monkeypatch.setattr(emulation, "CONTEXTS", reversed_)
    assert train() == as_listed


def test_no_two_contexts_change_the_same_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    changed_by: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
    change = Patches.set

    def watched(self: Patches, owner: Any, name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        changed_by[id(owner), name].add(id(self))
        change(self, owner, name, value, *args, **kwargs)

    monkeypatch.setattr(Patches, "set", watched)
    with simulation_of()[0]:
        pass
    assert len(changed_by) > 200
    assert [name for (_, name), patches in changed_by.items() if len(patches) > 1] == []
