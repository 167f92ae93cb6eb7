"""Replays of a CUDA graph: the record has the communication and steps of a GPU."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate

pytestmark = pytest.mark.filterwarnings("ignore")

STEPS = 4


@pytest.fixture
def distributed(simulate: Simulate) -> Simulation:
    simulation = simulate()
    dist.init_process_group("nccl")
    return simulation


def reduce_gradients(model: nn.Module) -> None:
    for parameter in model.parameters():
        work: Any = dist.all_reduce(parameter.grad, async_op=True)
        work.wait()


def train(*, optimizer_in_graph: bool) -> None:
    """The first step captures and replays, the others replay."""
    model = nn.Linear(4, 4).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), capturable=True)
    batch = torch.ones(2, 4, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model(batch).sum().backward()
        reduce_gradients(model)
        if optimizer_in_graph:
            optimizer.step()
    for _ in range(STEPS):
        graph.replay()
        if not optimizer_in_graph:
            optimizer.step()


@pytest.mark.parametrize("optimizer_in_graph", [False, True])
def test_each_step_has_its_collectives(optimizer_in_graph: bool, distributed: Simulation) -> None:
    train(optimizer_in_graph=optimizer_in_graph)
    record = distributed.record(None)
    assert record.steps == STEPS
    assert [call.seq for call in record.collectives] == list(range(2 * STEPS))
    assert [call.step for call in record.collectives] == [step for step in range(STEPS) for _ in range(2)]
    assert len({(call.op, call.phase, call.call_site, call.input_sizes) for call in record.collectives}) == 2
    assert [call.waited_before for call in record.collectives] == list(range(1, 2 * STEPS + 1))


def test_steps_inside_a_graph_keep_their_collectives(distributed: Simulation) -> None:
    parameter = nn.Parameter(torch.ones(2, device="cuda"))
    optimizer = torch.optim.SGD([parameter])
    parameter.grad = torch.ones(2, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for size in (3, 5):
            dist.all_reduce(torch.ones(size, device="cuda"))
            optimizer.step()
    graph.replay()
    graph.replay()
    calls = distributed.record(None).collectives
    assert [(call.step, call.input_sizes) for call in calls] == [(0, ((3,),)), (1, ((5,),)), (2, ((3,),)), (3, ((5,),))]


def test_a_graph_captured_anew_repeats_its_last_capture(distributed: Simulation) -> None:
    graph = torch.cuda.CUDAGraph()
    for size in (3, 5):
        with torch.cuda.graph(graph):
            dist.all_reduce(torch.ones(size, device="cuda"))
        graph.replay()
    graph.replay()
    assert [call.input_sizes for call in distributed.record(None).collectives] == [((3,),), ((5,),), ((5,),)]
