"""What the host asks of the device, in order: on which streams, who waits for whom, and which operations are executed."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils._python_dispatch import TorchDispatchMode

from fakerun.rank.simulation import Simulation
from fakerun.records.device_program import DeviceProgram, DeviceStream, Opcode
from fakerun.records.memory import Category
from tests.in_process import Simulate

DEFAULT = DeviceStream(device=0)
VIEWS = {"aten.t", "aten.view", "aten.detach", "aten.expand", "aten._unsafe_view", "aten.empty_like"}


def program_of(simulation: Simulation) -> DeviceProgram:
    return simulation.record(None).program


def executed(program: DeviceProgram, name: str = "") -> list[tuple[str, DeviceStream]]:
    """The operators that were executed, each with its stream."""
    found = [
        (program.operations[each.operand].name.rpartition(".")[0], program.streams[each.stream])
        for each in program.issued()
        if each.opcode is Opcode.EXECUTE
    ]
    return [(operator, stream) for operator, stream in found if name in operator]


def issued(program: DeviceProgram, *opcodes: Opcode) -> list[tuple[str, int, DeviceStream]]:
    return [(each.opcode.value, each.operand, program.streams[each.stream]) for each in program.issued() if each.opcode in opcodes]


class Recorded(TorchDispatchMode):
    """Torch's own record of the operators that a program calls."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.namespace == "aten":
            self.operators.append(str(func.overloadpacket))
        return func(*args, **(kwargs or {}))


def train(device: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4)).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=False)
    inputs = torch.ones(3, 8, device=device)
    for _ in range(2):
        model(inputs).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_the_operators_are_those_that_torch_dispatches(simulate: Simulate) -> None:
    with Recorded() as real:
        train("cpu")
    program = program_of_run(simulate)
    ours = [name for name, _ in executed(program)]
    start = ours.index("aten.ones")  # before it the parameters are copied to the device
    begin = real.operators.index("aten.ones")
    assert ours[start:] == [name for name in real.operators[begin:] if name not in VIEWS]


def program_of_run(simulate: Simulate) -> DeviceProgram:
    simulation = simulate()
    train("cuda")
    return program_of(simulation)


def test_backward_runs_on_the_stream_of_forward(simulation: Simulation) -> None:
    side = torch.cuda.Stream()
    x = torch.ones(4, device="cuda", requires_grad=True)
    with torch.cuda.stream(side):
        y = x.sin()
    y.exp().sum().backward()
    streams = dict(executed(program_of(simulation)))
    on_side = DeviceStream(device=0, priority=0, index=0)
    assert streams["aten.sin"] == streams["aten.cos"] == on_side
    assert streams["aten.exp"] == streams["aten.sum"] == DEFAULT
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_what_a_hook_makes_current_ends_with_its_node(simulation: Simulation) -> None:
    side = torch.cuda.Stream(priority=-1)
    x = torch.ones(4, device="cuda", requires_grad=True)
    y = x.sin()
    y.register_hook(lambda gradient: torch.cuda.set_stream(side))
    y.exp().sum().backward()
    x.grad = None
    torch.ones(2, device="cuda").tan()
    streams = dict(executed(program_of(simulation)))
    assert streams["aten.tan"] == DEFAULT
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


def test_each_thread_has_a_current_stream(simulation: Simulation) -> None:
    side = torch.cuda.Stream()
    seen = []

    def work() -> None:
        seen.append(torch.cuda.current_stream())
        torch.ones(2, device="cuda").tan()

    with torch.cuda.stream(side):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        torch.ones(2, device="cuda").sin()
    assert seen == [torch.cuda.default_stream()]
    assert executed(program_of(simulation), "tan") == [("aten.tan", DEFAULT)]
    assert executed(program_of(simulation), "sin") == [("aten.sin", DeviceStream(device=0, index=0))]


def test_streams_are_taken_from_a_pool_in_turn(simulation: Simulation) -> None:
    normal = [torch.cuda.Stream() for _ in range(33)]
    high = torch.cuda.Stream(priority=-1)
    assert len(set(normal)) == 32
    assert normal[32] == normal[0]
    assert high not in normal


def test_waits_and_events(simulation: Simulation) -> None:
    side, event = torch.cuda.Stream(), torch.cuda.Event()
    torch.cuda.current_stream().wait_event(event)  # never recorded: nothing to wait for
    event.record()
    side.wait_event(event)
    side.wait_stream(torch.cuda.current_stream())
    torch.cuda.Event().record(side)
    event.synchronize()
    side.synchronize()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    on_side = DeviceStream(device=0, index=0)
    program = program_of(simulation)
    assert issued(program, *(opcode for opcode in Opcode if opcode is not Opcode.BEGIN_PHASE)) == [
        ("record_event", 0, DEFAULT),
        ("wait_for_event", 0, on_side),
        ("wait_for_stream", 0, on_side),
        ("record_event", 0, on_side),
        ("synchronize_event", 1, DEFAULT),
        ("synchronize_stream", 0, on_side),
        ("synchronize", 0, DEFAULT),
        ("empty_cache", 0, DEFAULT),
    ]


def test_uses_on_other_streams_are_of_the_block(simulation: Simulation) -> None:
    first, second = torch.ones(4, device="cuda"), torch.ones(8, device="cuda")
    first.view(2, 2).record_stream(torch.cuda.Stream())
    program = program_of(simulation)
    assert issued(program, Opcode.RECORD_STREAM) == [("record_stream", 1, DeviceStream(device=0, index=0))]
    assert second.numel() == 8


def test_reading_a_value_waits_for_the_stream(simulation: Simulation) -> None:
    torch.ones(4, device="cuda").sum().item()
    assert issued(program_of(simulation), Opcode.SYNCHRONIZE_STREAM) == [("synchronize_stream", 0, DEFAULT)]


def test_fsdp2_allocates_on_its_streams(simulate: Simulate) -> None:
    """All-gathers are copied in and out on one stream of high priority, gradients are made on another (torch 2.13)."""
    simulation = simulate()
    mesh = init_device_mesh("cuda", (2,))
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(3))).cuda()
    for layer in model:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model(torch.ones(2, 64, device="cuda")).sum().backward()
    program = program_of(simulation)
    streams = {category: {program.streams[block.stream] for block in program.blocks if block.category is category} for category in Category}
    copy_in, _, reduce_scatter = (DeviceStream(device=0, priority=-1, index=index) for index in range(3))
    assert streams[Category.GRADIENT] == {reduce_scatter}
    assert copy_in in streams[Category.COMMUNICATION]
    assert streams[Category.PARAMETER] == {DEFAULT}
    calls = issued(program, Opcode.COMMUNICATE)
    assert len(calls) == len(simulation.record(None).collectives)
    assert {stream for _, _, stream in calls} >= {reduce_scatter}
