"""Where streams wait for communication and for each other, as the device program has it."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
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


def future() -> Any:
    return dist.all_reduce(torch.ones(4, device="cuda"), async_op=True).get_future()


def test_a_future_that_is_taken_outside_backward_is_waited_for_where_the_script_does(distributed: Simulation) -> None:
    taken = future()
    torch.ones(4, device="cuda").sin()
    taken.wait()
    torch.ones(4, device="cuda").tan()
    told = story(distributed.record(None).program)
    assert told == ["ones 0", "communicate 0", "ones 0", "sin 0", "wait_for_call 0 0", "ones 0", "tan 0"]


def test_a_callback_runs_on_a_stream_of_its_own_behind_the_call(distributed: Simulation) -> None:
    sine = future().then(lambda done: done.value()[0].sin())
    tangent = sine.then(lambda done: done.wait().tan())
    torch.ones(4, device="cuda").cos()
    assert tangent.wait().shape == (4,)
    tangent.value().exp()
    record = distributed.record(None)
    assert story(record.program) == [
        *("ones 0", "communicate 0", "wait_for_call 0 1", "sin 1"),
        *("wait_for_event 0 2", "wait_for_event 0 2", "tan 2"),
        *("ones 0", "cos 0", "wait_for_event 0 0", "exp 0"),
    ]
    assert record.program.streams == (DEFAULT, SIDE, DeviceStream(device=0, index=1))
    assert all(call.waited_before is not None for call in record.collectives)


def test_streams_of_callbacks_and_of_the_script_are_taken_in_turn(distributed: Simulation) -> None:
    torch.cuda.Stream()
    future().then(lambda done: done.value()[0].sin())
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.ones(1, device="cuda").cos()
    streams = distributed.record(None).program.streams
    assert streams == (DEFAULT, DeviceStream(device=0, index=1), DeviceStream(device=0, index=2))


def test_what_a_callback_makes_is_in_use_where_it_is_waited_for(distributed: Simulation) -> None:
    future().then(lambda done: done.value()[0].sin()).wait()
    program = distributed.record(None).program
    uses = [each for each in program.issued() if each.opcode is Opcode.RECORD_STREAM]
    assert [(each.operand, each.stream) for each in uses] == [(0, 1), (0, 0)]  # the reduced on the callback's, the sine on the default one


def test_a_future_that_is_dropped_keeps_no_memory(distributed: Simulation) -> None:
    before = torch.cuda.memory_allocated()
    future().then(lambda done: done.value()[0].sin()).wait()
    work: Any = dist.all_reduce(torch.ones(4, device="cuda"), async_op=True)  # until then the handle of the first call keeps its tensors
    work.wait()
    assert torch.cuda.memory_allocated() == before


def test_a_callback_that_fails_fails_whoever_waits(distributed: Simulation) -> None:
    failed = future().then(lambda done: 1 / 0)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        failed.wait()
    torch.ones(4, device="cuda")
    assert story(distributed.record(None).program)[-1] == "ones 0"


@pytest.mark.parametrize("wait", [lambda taken: torch.futures.wait_all(taken), lambda taken: torch.futures.collect_all(taken).wait()])
def test_several_futures_are_waited_for_together(wait: Any, distributed: Simulation) -> None:
    wait([future(), future().then(lambda done: done.value()[0].sin())])
    told = story(distributed.record(None).program)
    assert told[-3:] == ["sin 1", "wait_for_call 1 0", "wait_for_event 0 0"]


def test_a_callback_on_the_host_has_no_stream(simulate: Simulate) -> None:
    simulation = simulate()
    dist.init_process_group("gloo")
    work: Any = dist.all_reduce(torch.ones(4), async_op=True)
    assert work.get_future().then(lambda done: done.value()[0] + 1).wait().shape == (4,)
    assert not story(simulation.record(None).program)


def second_backward(record: Any) -> list[str]:
    told = story(record.program)
    return told[told.index("ones_like 0", told.index("tan 0")) :]


@pytest.mark.parametrize("kind", ["python", "built in"])
def test_a_hook_of_ddp_decompresses_behind_its_call(kind: str, distributed: Simulation) -> None:
    model = DistributedDataParallel(nn.Sequential(*(nn.Linear(512, 512, bias=False) for _ in range(3))).cuda(), bucket_cap_mb=1)
    if kind == "python":
        model.register_comm_hook(None, default_hooks.fp16_compress_hook)
    else:
        model._register_builtin_comm_hook(dist.BuiltinCommHookType.FP16_COMPRESS)  # type: ignore[attr-defined]
    for _ in range(2):
        model(torch.ones(2, 512, device="cuda")).sum().backward()
        torch.ones(1, device="cuda").tan()
    record = distributed.record(None)
    second = second_backward(record)
    calls = [position for position, each in enumerate(second) if each == "communicate 0"]
    assert len(calls) == 3
    streams = []
    for position in calls:
        waits, copies = second[position + 1 : position + 3]
        stream = copies.removeprefix("copy_ ")
        assert waits == f"wait_for_call 0 {stream}"
        streams.append(stream)
    assert len(set(streams)) == 3
    assert "0" not in streams
    last_wait = second[calls[-1] + 3 :]
    assert last_wait[:3] == ["wait_for_event 2 0", "wait_for_event 1 0", "wait_for_event 0 0"]
    assert "mm 0" in second[calls[0] :]  # backward goes on while buckets are communicated
    assert not any(each.startswith("wait_for_call") and each.endswith(" 0") for each in second[calls[0] :])


def test_mixed_precision_of_ddp_waits_on_its_own_stream(distributed: Simulation) -> None:
    from torch.nn.parallel.distributed import _MixedPrecision

    reduced_by_ddp(mixed_precision=_MixedPrecision(param_dtype=torch.float16, reduce_dtype=torch.float16))
    second = second_backward(distributed.record(None))
    first_call = second.index("communicate 0")
    assert second[first_call + 1].startswith("wait_for_call 0 ")
    assert second[first_call + 1] != "wait_for_call 0 0"


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
