"""Python code that torch runs on the script's behalf sees the same device as the script, and so do the modes that it enters."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import torch
from torch._C._distributed_c10d import HashStore
from torch.utils._python_dispatch import TorchDispatchMode

from fakerun.rank.simulation import Simulation
from tests.emulate.places import DISTRIBUTED, PLACES, Place
from tests.in_process import simulation_of

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # torch.func.jvp scripts its decompositions (torch 2.14)

Observed = tuple[Any, ...]


class Calls(TorchDispatchMode):
    """The operators that are called, and the devices that they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        devices = [value for value in (*args, *(kwargs or {}).values()) if isinstance(value, torch.device)]
        self.seen.append(" ".join(map(str, (func, *devices))))
        return func(*args, **(kwargs or {}))


def what_is_seen_of(x: torch.Tensor, device: str) -> Observed:
    """What the code of a script can ask about a tensor on `device`, and what its own mode sees of that; the device is named `here`."""
    with Calls() as calls:
        same = {
            "to(device, dtype)": x.to(x.device, x.dtype) is x,
            "to(device)": x.to(x.device) is x,
            "to(device=, dtype=)": x.to(device=x.device, dtype=x.dtype) is x,
            "to(name)": x.to(device) is x,
            "to(other)": x.to(x) is x,
            "cuda()": (x.cuda() if device == "cuda" else x.cpu()) is x,
            "as_tensor": torch.as_tensor(x, device=x.device) is x,
            "aten.to": torch.ops.aten.to.device(x, x.device, x.dtype) is x,
        }
        made = [
            torch.zeros(2, device=x.device),
            torch.ones(2, device=device),
            torch.tensor([1.0, 2.0], device=device),
            torch.empty_like(x),
            torch.full_like(x, 1.0, device=x.device),
            x.new_zeros(2),
            x.to(device, torch.float16),
        ]
    devices = [x.device, *(tensor.device for tensor in made)]
    kinds = [x.is_cuda == (device == "cuda"), x.device.type == device, *(tensor.is_cuda == x.is_cuda for tensor in made)]
    # Below autograd a mode sees `x.to()` itself or what it does, by the kind of tensor; a detached one is marked as such, or is already.
    seen = [call for call in calls.seen if not call.startswith(("aten.to.", "aten._to_copy.", "aten.detach_."))]
    copies = sum(call.startswith("aten._to_copy.") for call in calls.seen) or 1
    named = [text.replace("cuda:0", "here").replace("cpu", "here") for text in (*map(str, devices), *seen)]
    return (tuple(same.items()), tuple(kinds), tuple(named), copies)


def seen_at(place: Place, device: str) -> set[Observed]:
    """What is seen at a place; none if the place does not get to call the check."""
    seen: set[Observed] = set()
    place(lambda x: seen.add(what_is_seen_of(x, device)), device)
    return seen


@pytest.fixture(scope="module")
def on_the_host() -> dict[str, set[Observed]]:
    """What is seen at each place on the host, without a simulation."""
    return {name: seen_at(place, "cpu") for name, place in PLACES.items()}


@pytest.fixture(scope="module")
def alone(on_the_host: object) -> Iterator[Simulation]:
    """Rank 0 of 2, after the host was looked at."""
    with simulation_of(nproc_per_node=2)[0] as simulation:
        yield simulation


@pytest.mark.parametrize("name", PLACES)
def test_the_device_is_that_of_the_script(name: str, on_the_host: dict[str, set[Observed]], alone: Simulation) -> None:
    here = seen_at(PLACES[name], "cuda")
    assert here
    assert here <= on_the_host[name]


@pytest.fixture(scope="module")
def in_a_group(alone: Simulation) -> Iterator[None]:
    """A process group of that rank."""
    torch.distributed.init_process_group("nccl", timeout=timedelta(minutes=1), store=HashStore(), rank=0, world_size=2)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", DISTRIBUTED)
def test_the_device_is_that_of_the_script_with_a_process_group(name: str, in_a_group: None) -> None:
    outside = what_is_seen_of(torch.ones(4, 4, device="cuda"), "cuda")
    assert seen_at(DISTRIBUTED[name], "cuda") == {outside}
