"""Where streams wait for communication and for each other, as the device program has it."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fakerun.rank.simulation import Simulation
from fakerun.records.device_program import DeviceProgram, DeviceStream, Opcode
from tests.in_process import Simulate

DEFAULT, SIDE = DeviceStream(device=0), DeviceStream(device=0, index=0)
WAITS = {Opcode.WAIT_FOR_STREAM, Opcode.WAIT_FOR_CALL, Opcode.WAIT_FOR_EVENT, Opcode.SYNCHRONIZE_STREAM}


def story(program: DeviceProgram) -> list[str]:
    """The operators, calls and waits, each with the number of its stream; a wait with what it waits for."""
    told = []
    for each in program.issued():
        if each.opcode is Opcode.EXECUTE:
            told.append(f"{program.operations[each.operand].name.split('.')[1]} {each.stream}")
        elif each.opcode is Opcode.COMMUNICATE:
            told.append(f"communicate {each.stream}")
        elif each.opcode in WAITS:
            told.append(f"{each.opcode.value} {each.operand} {each.stream}")
    return told


@pytest.fixture
def distributed(simulate: Simulate) -> Simulation:
    simulation = simulate()
    dist.init_process_group("nccl")
    return simulation


def reduced_by_ddp(**options: Any) -> None:
    layers = nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(3))).cuda()
    model = DistributedDataParallel(layers, bucket_cap_mb=1, **options)
    for _ in range(2):
        model(torch.ones(2, 512, device="cuda")).sum().backward()
        torch.ones(1, device="cuda").tan()


def test_ddp_waits_for_its_buckets_at_the_end_of_backward(distributed: Simulation) -> None:
    reduced_by_ddp()
    record = distributed.record(None)
    told = story(record.program)
    second = told[told.index("tan 0") + 1 :]
    first_wait = second.index("wait_for_call 2 0", second.index("ones_like 0"))
    assert second[first_wait:][:3] == ["wait_for_call 2 0", "wait_for_call 1 0", "wait_for_call 0 0"]
    assert second[:first_wait].count("communicate 0") == second.count("communicate 0")
    assert "mm 0" not in second[first_wait:]
    assert all(call.waited_before is not None for call in record.collectives if call.is_async)


def test_a_future_that_is_taken_outside_backward_is_waited_for_at_once(distributed: Simulation) -> None:
    dist.all_reduce(torch.ones(4, device="cuda"), async_op=True).get_future().wait()
    torch.ones(4, device="cuda")
    assert story(distributed.record(None).program) == ["ones 0", "communicate 0", "wait_for_call 0 0", "ones 0"]


def test_the_host_waits_for_a_barrier(distributed: Simulation) -> None:
    dist.barrier()
    assert story(distributed.record(None).program) == ["communicate 0", "wait_for_call 0 0", "synchronize_stream 0 0"]


def test_a_call_is_waited_for_by_the_stream_that_is_current_then(distributed: Simulation) -> None:
    work = dist.all_reduce(torch.ones(4, device="cuda"), async_op=True)
    with torch.cuda.stream(torch.cuda.Stream()):
        work.wait()
    assert story(distributed.record(None).program) == ["ones 0", "communicate 0", "wait_for_call 0 1"]


def test_in_backward_streams_wait_for_each_other_as_in_forward(simulation: Simulation) -> None:
    side = torch.cuda.Stream()
    x = torch.ones(4, device="cuda", requires_grad=True)
    with torch.cuda.stream(side):
        y = x.sin()
    y.exp().sum().backward()
    torch.ones(2, device="cuda")
    program = simulation.record(None).program
    assert program.streams == (DEFAULT, SIDE)
    told = story(program)
    assert told[told.index("ones_like 0") :] == [
        "ones_like 0",
        "mul 0",
        "wait_for_stream 0 1",
        "cos 1",
        "mul 1",
        "wait_for_stream 1 0",
        "ones 0",
    ]


def test_the_caller_of_backward_waits_for_its_last_node(simulation: Simulation) -> None:
    side = torch.cuda.Stream()
    x = torch.ones(4, device="cuda", requires_grad=True)
    with torch.cuda.stream(side):
        y = x.sin().sum()
    torch.autograd.grad(y, x)
    torch.ones(2, device="cuda").tan()
    told = story(simulation.record(None).program)
    assert told[-5:] == ["cos 1", "mul 1", "wait_for_stream 1 0", "ones 0", "tan 0"]
