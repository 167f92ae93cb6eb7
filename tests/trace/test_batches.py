"""Which calls were issued as one, and on which device."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import _functional_collectives as functional
from torch.distributed.fsdp import fully_shard

from tests.in_process import Simulate
from tests.trace.seen import watch

BOTH = "cpu:gloo,cuda:nccl"

BINDS_ITS_DEVICE = hasattr(dist.distributed_c10d, "_nccl2_device")
"""Since torch 2.15 every group that has NCCL knows its device, as others do if `init_process_group` gets one: barriers run there."""


def on(device: str) -> torch.Tensor:
    return torch.ones(4, device=device)


def exchange(device: str = "cuda") -> list[dist.Work]:
    return dist.batch_isend_irecv([dist.P2POp(dist.isend, on(device), 1), dist.P2POp(dist.irecv, on(device), 1)])


def within(calls: Callable[[], Any], device: str | None = "cuda") -> None:
    with dist.distributed_c10d._coalescing_manager(device=None if device is None else torch.device(device)):
        calls()


def reduce_twice() -> None:
    dist.all_reduce(on("cuda"))
    dist.all_reduce(on("cuda"))


def exchange_twice() -> None:
    exchange()
    dist.all_reduce(on("cuda"))
    exchange()


def in_nested_batches() -> None:
    other = dist.new_group([0, 1])

    def both() -> None:
        dist.broadcast(on("cuda"), 0)
        with dist.distributed_c10d._coalescing_manager(other, torch.device("cuda")):
            dist.broadcast(on("cuda"), 0, group=other)
        dist.broadcast(on("cuda"), 0)

    within(both)


def in_a_graph() -> None:
    """The first replay is what was captured."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        exchange()
    graph.replay()
    graph.replay()


def trained_with_fsdp() -> None:
    model: Any = fully_shard(nn.Linear(4, 4).cuda())
    model(on("cuda")).sum().backward()


BATCHES: dict[str, tuple[Callable[[], Any], list[int | None]]] = {
    "calls by themselves": (lambda: [dist.all_reduce(on("cuda")), dist.isend(on("cuda"), 1)], [None, None]),
    "two batches": (exchange_twice, [0, 0, None, 3, 3]),
    "one call in a batch": (lambda: dist.batch_isend_irecv([dist.P2POp(dist.isend, on("cuda"), 1)]), [0]),
    "a batch on the host": (lambda: exchange("cpu"), [None, None]),
    "coalesced into one call": (lambda: within(reduce_twice, None), [None]),
    "coalesced by the backend": (lambda: within(lambda: [dist.broadcast(on("cuda"), 0) for _ in range(2)]), [0, 0]),
    "a host tensor among coalesced ones": (lambda: within(lambda: [dist.broadcast(on(each), 0) for each in ("cuda", "cpu")]), [0, None]),
    "batches in a batch": (in_nested_batches, [0, 0, 0]),
    "batches in a graph": (in_a_graph, [0, 0, 2, 2]),
    "coalesced functional": (lambda: functional.all_reduce_coalesced([on("cuda")] * 2, "sum", dist.group.WORLD), [None]),  # type: ignore[arg-type]
    "FSDP": (trained_with_fsdp, [None] * 2),
}


@pytest.mark.parametrize("name", BATCHES)
def test_calls_issued_as_one_have_the_number_of_the_first(name: str, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group(BOTH)
    calls, batches = BATCHES[name]
    with watch(simulation) as seen:
        calls()
    assert [call.coalesced for call in seen.collectives] == batches


@pytest.mark.skipif(not hasattr(torch.ops._c10d_functional, "batch_p2p_ops"), reason="torch since 2.15")
def test_a_functional_batch(simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("nccl")
    dist.all_reduce(on("cuda"))
    arguments = (["isend", "irecv"], [1, 1], [0, 0], [on("cuda"), on("cuda")], dist.group.WORLD.group_name)  # type: ignore[union-attr]
    torch.ops._c10d_functional.batch_p2p_ops(*arguments)
    assert [call.coalesced for call in simulation.seen().collectives] == [None, 1, 1]


@pytest.mark.parametrize(("backend", "device", "handles"), [("nccl", "cuda", 1), ("gloo", "cpu", 2), (BOTH, "cuda", 1), (BOTH, "cpu", 2)])
def test_a_batch_has_one_handle_where_the_backend_sends_it_as_one(backend: str, device: str, handles: int, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group(backend)
    works = exchange(device)
    assert len(works) == handles
    for work in works:
        assert not all(call.waited for call in simulation.seen().collectives)
        work.wait()
    assert all(call.waited for call in simulation.seen().collectives)


def test_parts_of_a_group_have_its_backend(simulate: Simulate) -> None:
    simulation = simulate(nproc_per_node=4)
    dist.init_process_group("nccl", device_id=torch.device("cuda", 0))
    part = dist.split_group(split_ranks=[[0, 1], [2, 3]])
    dist.batch_isend_irecv([dist.P2POp(dist.isend, on("cuda"), 1, group=part)])
    assert [call.coalesced for call in simulation.seen().collectives] == [0]


def test_gloo_sends_nothing_as_one(simulate: Simulate) -> None:
    simulate()
    dist.init_process_group("gloo")
    with pytest.raises(RuntimeError, match=r"^Backend gloo does not implement startCoalescing$"):
        within(lambda: dist.all_reduce(on("cpu")), "cpu")


DEVICES: list[tuple[str, Callable[[], Any], int | None]] = [
    ("nccl", lambda: dist.all_reduce(on("cuda")), 0),
    ("nccl", lambda: dist.barrier(), 0),
    ("nccl", lambda: dist.all_gather_object([None, None], "it"), 0),
    ("gloo", lambda: dist.all_reduce(on("cpu")), None),
    ("gloo", lambda: dist.all_reduce(on("cuda")), None),
    ("gloo", lambda: dist.barrier(), None),
    ("gloo", lambda: dist.monitored_barrier(), None),
    ("gloo", lambda: dist.all_gather_object([None, None], "it"), None),
    (BOTH, lambda: dist.all_reduce(on("cuda")), 0),
    (BOTH, lambda: dist.all_reduce(on("cpu")), None),
    (BOTH, lambda: dist.barrier(), 0 if BINDS_ITS_DEVICE else None),
    (BOTH, lambda: dist.barrier(device_ids=[0]), 0),
    (BOTH, lambda: dist.all_gather_object([None, None], "it"), None),
    ("fake", lambda: dist.all_reduce(on("cuda")), 0),
]


@pytest.mark.parametrize(("backend", "call", "device"), DEVICES)
def test_the_device_whose_backend_runs_the_call(backend: str, call: Callable[[], Any], device: int | None, simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group(backend, store=getattr(dist, "HashStore")(), rank=0, world_size=2)  # noqa: B009  unseen by type checkers
    call()
    assert {each.device for each in simulation.seen().collectives} == {device}
