"""Collective calls that c10d or NCCL refuses before anything is sent, refused in the same words."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist

from fakerun.errors import is_scripts_own
from fakerun.rank.simulation import Simulation


def on_gpu(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype, device="cuda")


NO_BACKEND = "No backend type associated with device type cpu"
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "a host tensor": (lambda: dist.all_reduce(torch.ones(2)), RuntimeError, NO_BACKEND),
    "a host tensor among others": (lambda: dist.all_gather([torch.ones(2), torch.ones(2)], on_gpu(2)), RuntimeError, NO_BACKEND),
    "gathered into too little": (
        lambda: dist.all_gather_into_tensor(on_gpu(3), on_gpu(2)),
        ValueError,
        "output tensor size must be equal to world_size times input tensor size",
    ),
    "gathered into another dtype": (
        lambda: dist.all_gather_into_tensor(on_gpu(4, dtype=torch.bfloat16), on_gpu(2)),
        TypeError,
        "output tensor must have the same type as input tensor",
    ),
    "scattered unevenly": (
        lambda: dist.reduce_scatter_tensor(on_gpu(3), on_gpu(7)),
        ValueError,
        "input tensor must be the same size as output size times world size",
    ),
    "scattered into another dtype": (
        lambda: dist.reduce_scatter_tensor(on_gpu(2, dtype=torch.bfloat16), on_gpu(4)),
        TypeError,
        "input tensor must be the same type as the output tensor.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_as_in_a_real_run(name: str, simulation: Simulation) -> None:
    call, error, message = REFUSED[name]
    dist.init_process_group("nccl")
    with pytest.raises(error, match=message) as raised:
        call()
    assert is_scripts_own(raised.value)
    assert not simulation.record(None).collectives


def test_host_tensors_travel_where_there_is_a_backend_for_them(simulation: Simulation) -> None:
    dist.init_process_group("cpu:gloo,cuda:nccl")
    dist.all_reduce(torch.ones(2))
    dist.all_reduce(on_gpu(2))
    dist.all_reduce(torch.ones(2), group=dist.new_group([0, 1], backend="gloo"))
    assert len(simulation.record(None).collectives) == 3


def test_objects_travel_whatever_the_backend(simulation: Simulation) -> None:
    dist.init_process_group("nccl")
    gathered: list[Any] = [None, None]
    dist.gather_object("it", gathered)
    assert gathered == ["it", "it"]
    with pytest.raises(RuntimeError, match=NO_BACKEND):
        dist.broadcast(torch.ones(2), src=0)
