"""Replays of a CUDA graph: the record has the communication and steps of a GPU."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

from fakerun.rank.simulation import Simulation
from fakerun.records.collective import Phase
from fakerun.records.device_program import OF_POOLS, DeviceProgram, Opcode, check_program
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
        if size == 3:
            graph.reset()
    graph.replay()
    assert [call.input_sizes for call in distributed.record(None).collectives] == [((3,),), ((5,),), ((5,),)]


def requests(program: DeviceProgram) -> list[str]:
    """What is executed, replayed, communicated and waited for by streams, each with its stream."""
    of_memory = (Opcode.ALLOCATE, Opcode.FREE, Opcode.EMPTY_CACHE, Opcode.NAME_POOL, Opcode.SERVE_FROM, *OF_POOLS)
    left_out = (*of_memory, Opcode.BEGIN_PHASE, Opcode.SYNCHRONIZE)
    makes_nothing = "aten.empty.memory_format"
    return [
        f"{each.opcode.value} {program.operations[each.operand].name.split('.')[1]} {each.stream}"
        if each.opcode in (Opcode.EXECUTE, Opcode.REPLAY)
        else f"{each.opcode.value} {each.operand} {each.stream}"
        for each in program.issued()
        if each.opcode not in left_out and not (each.opcode is Opcode.EXECUTE and program.operations[each.operand].name == makes_nothing)
    ]


def test_a_replay_repeats_the_operations_of_the_capture(distributed: Simulation) -> None:
    x = torch.ones(4, device="cuda")
    graph, side, before = torch.cuda.CUDAGraph(), torch.cuda.Stream(), torch.cuda.current_stream().record_event()
    with torch.cuda.graph(graph):  # on stream 1
        before.wait()
        x.sin()
        side.wait_event(torch.cuda.current_stream().record_event())
        with torch.cuda.stream(side):
            work: Any = dist.all_reduce(x, async_op=True)
        work.wait()
        torch.cuda.current_stream().wait_stream(side)
        x.cos()
    graph.replay()
    x.tan()
    graph.replay()
    program = distributed.record(None).program
    check_program(program)
    told = requests(program)
    captured = [
        *("execute sin 1", "record_event 0 1", "wait_for_event 0 2", "communicate 0 2", "wait_for_call 0 1", "wait_for_stream 2 1"),
        "execute cos 1",
    ]
    assert told[: told.index("execute tan 0")] == [
        *("execute ones 0", "record_event 0 0", "wait_for_event 0 1"),
        *(*captured, "wait_for_stream 1 0"),
    ]
    replayed = [re.sub(" 1$", " 0", each.replace("execute", "replay")) for each in captured]
    assert told[told.index("execute tan 0") + 1 :] == ["begin_replay 0 0", *replayed, "end_replay 0 0"]
    allocated = [program.blocks[each.operand].dtype for each in program.issued() if each.opcode is Opcode.ALLOCATE]
    assert allocated.count("float32") == 4  # ones, sin, cos, tan; the graph's generator has int64


def test_a_replay_is_queued_on_the_stream_that_is_current(distributed: Simulation) -> None:
    x = torch.ones(4, device="cuda")
    graph, capturing, other = torch.cuda.CUDAGraph(), torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.graph(graph, stream=capturing):
        x.sin()
    graph.replay()
    with torch.cuda.stream(other):
        graph.replay()
    assert requests(distributed.record(None).program) == [
        *("execute ones 0", "execute sin 1", "wait_for_stream 1 0"),
        *("begin_replay 0 0", "replay sin 2", "end_replay 0 0"),
    ]


def test_a_replayed_step_ends_where_its_operations_end(distributed: Simulation) -> None:
    train(optimizer_in_graph=True)
    program = distributed.record(None).program
    check_program(program)

    def of(step: Sequence[int], opcode: Opcode) -> list[int]:
        instructions = map(program.instructions.__getitem__, step)
        return [each.operand for each in instructions if each.opcode is opcode]

    steps = [program.order[start:end] for start, end in itertools.pairwise((0, *program.step_ends))]
    assert len(steps) == STEPS
    phases = [list(Phase)[number] for number in of(steps[-1], Opcode.BEGIN_PHASE)]
    assert phases == [Phase.OTHER, Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER]
    replayed, executed = of(steps[-1], Opcode.REPLAY), of(steps[0], Opcode.EXECUTE)
    assert replayed == executed[-len(replayed) :]
    assert len(replayed) > 10
    assert steps[2] == steps[3]
