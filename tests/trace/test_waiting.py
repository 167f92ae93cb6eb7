"""Whether the script waited for its asynchronous calls."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import _functional_collectives as functional
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from tests.in_process import Simulate
from tests.trace.seen import watch


def ones() -> torch.Tensor:
    return torch.ones(4, device="cuda")


def handle(**options: Any) -> Any:
    return dist.all_reduce(ones(), async_op=True, **options)


def result() -> torch.Tensor:
    return functional.all_reduce(ones(), "sum", dist.group.WORLD)  # type: ignore[no-any-return, arg-type]


def neighbours() -> list[dist.P2POp]:
    return [dist.P2POp(dist.isend, ones(), 1), dist.P2POp(dist.irecv, ones(), 1)]


def all_waited_in_a_batch() -> None:
    for work in dist.batch_isend_irecv(neighbours()):
        work.wait()


def trained(model: Any) -> None:
    for _ in range(2):
        model(torch.ones(2, 4, device="cuda")).sum().backward()


def coalesced(asynchronous: bool, wait: bool) -> None:
    with dist.distributed_c10d._coalescing_manager(async_ops=asynchronous) as manager:
        dist.all_reduce(ones())
        dist.all_reduce(ones())
    if wait:
        manager.wait()


WAITED: dict[str, Callable[[], Any]] = {
    "synchronous": lambda: dist.all_reduce(ones()),
    "a handle": lambda: handle().wait(),
    "a handle, by its future": lambda: handle().get_future().wait(),
    "a handle, until it is done": lambda: handle().is_completed(),
    "a handle, on the stream": lambda: handle().synchronize(),
    "send": lambda: dist.send(ones(), 1),
    "recv": lambda: dist.recv(ones(), 1),
    "isend": lambda: dist.isend(ones(), 1).wait(),  # type: ignore[union-attr]
    "a batch": all_waited_in_a_batch,
    "coalesced": lambda: coalesced(asynchronous=False, wait=False),
    "coalesced, later": lambda: coalesced(asynchronous=True, wait=True),
    "a result, used": lambda: result() + 1,
    "a result, waited for": lambda: functional.wait_tensor(result()),
    "a result, through a view": lambda: result().view(2, 2) + 1,
    "coalesced results": lambda: [each + 1 for each in functional.all_reduce_coalesced([ones(), ones()], "sum", dist.group.WORLD)],  # type: ignore[arg-type]
    "a barrier": lambda: dist.barrier(),
    "objects": lambda: dist.all_gather_object([None, None], "it"),
    "DDP": lambda: trained(DistributedDataParallel(nn.Linear(4, 4).cuda())),
    "FSDP2": lambda: trained(fully_shard(nn.Linear(4, 4).cuda())),
    "DTensor": lambda: distribute_tensor(ones(), init_device_mesh("cuda", (2,)), [Shard(0)]).full_tensor() + 1,
}

UNWAITED: dict[str, tuple[Callable[[], Any], list[bool]]] = {
    "a handle, dropped": (handle, [False]),
    "isend, dropped": (lambda: dist.isend(ones(), 1), [False]),
    "one of two handles": (lambda: (handle(), handle().wait()), [False, True]),
    "a batch": (lambda: dist.batch_isend_irecv(neighbours()), [False, False]),
    "coalesced": (lambda: coalesced(asynchronous=True, wait=False), [False]),
    "a result, dropped": (result, [False]),
    "a result, only viewed": (lambda: result().view(2, 2), [False]),
}


@pytest.mark.parametrize("name", WAITED)
def test_waited_for(name: str, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    with watch(simulation) as seen:
        WAITED[name]()
    assert seen.collectives
    assert all(call.waited for call in seen.collectives)


@pytest.mark.parametrize("name", UNWAITED)
def test_not_waited_for(name: str, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    call, waited = UNWAITED[name]
    with watch(simulation) as seen:
        call()
    assert [call.waited for call in seen.collectives] == waited
    assert all(call.is_async for call in seen.collectives)


def test_a_handle_waited_for_later(simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    work = handle()
    assert not simulation.record(None).collectives[-1].waited
    work.wait()
    assert simulation.record(None).collectives[-1].waited
