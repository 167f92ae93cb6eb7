"""A simulation that has ended leaves torch unchanged, and the next one starts with fresh state."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fakerun.hardware.catalogue import hardware_named
from fakerun.job.spec import JobSpec
from fakerun.rank.simulation import Simulation
from fakerun.records.run import RankRecord
from fakerun.torch_private import FakeProcessGroup, FakeTensor

OWNERS: tuple[Any, ...] = (
    torch.Tensor,
    torch.UntypedStorage,
    nn.Module,
    torch.optim.Optimizer,
    FakeTensor,
    FakeProcessGroup,
    torch.amp.GradScaler,
)
JOB = JobSpec(module="test", hardware=hardware_named("h100-80gb"), nproc_per_node=2, steps=1000)

Attributes = dict[tuple[str, str], Any]


def attributes() -> Attributes:
    """Every function and class in torch's modules, and in the classes that the emulation touches."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "torch" and isinstance(module, ModuleType)]
    return {
        (str(owner), name): value
        for owner in (*modules, *OWNERS)
        for name, value in list(vars(owner).items())
        if callable(value) or isinstance(value, (property, staticmethod, classmethod))
    }


def simulate() -> RankRecord:
    """A script that touches most of what is emulated."""
    with Simulation(JOB, 0) as simulation:
        dist.init_process_group("nccl")
        model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)).cuda())
        optimizer = torch.optim.AdamW(model.parameters())
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(torch.randn(4, 8, device="cuda")).sum()
        loss.backward()
        optimizer.step()
        query = torch.randn(1, 2, 4, 8, device="cuda", dtype=torch.bfloat16)
        nn.functional.scaled_dot_product_attention(query, query, query)
        return simulation.record(None)


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of torchrun, which `init_process_group` reads."""
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def before(launched: None) -> Attributes:
    """torch as it is before a simulation, when what is imported on demand has been."""
    simulate()
    return attributes()


def test_torch_is_what_it_was(before: Attributes) -> None:
    simulate()
    after = attributes()
    changed = {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)}
    assert not changed


@pytest.mark.usefixtures("before")
def test_real_work_is_real_again() -> None:
    assert not dist.is_initialized()
    assert not torch.cuda.is_available()  # on a machine without a GPU, whatever the build
    assert not torch.cuda.is_initialized()
    model = nn.Linear(4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(torch.ones(2, 4))
    output.sum().backward()
    assert output.dtype is torch.bfloat16
    assert type(model.weight) is nn.Parameter
    assert model.weight.grad is not None
    assert model.weight.grad.tolist() == [[2.0] * 4] * 4
    with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|cuda|NVIDIA"):
        torch.zeros(1, device="cuda")


def test_the_same_script_gives_the_same_record() -> None:
    assert simulate() == simulate()


def test_the_type_of_devices_is_left_as_it_was() -> None:
    before, flags, constructor = str(torch.device("cuda:1")), torch.device.__flags__, vars(torch.device)["__new__"]
    for _ in range(2):
        with Simulation(JOB, 0):
            assert torch.device(1).index == 1

    assert (str(torch.device("cuda:1")), torch.device.__flags__, vars(torch.device)["__new__"]) == (before, flags, constructor)
    if not torch.backends.cuda.is_built():
        with pytest.raises(RuntimeError, match="accelerator"):
            torch.device(1)
    with pytest.raises(TypeError, match="immutable"):
        torch.device.__new__ = constructor  # type: ignore[method-assign]
