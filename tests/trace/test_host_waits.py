"""Where the host waits for the device, the record says so."""

from collections.abc import Callable

import pytest
import torch

from fakerun.rank.simulation import Simulation
from fakerun.records.device_program import DeviceStream, Opcode

WAITS = (Opcode.SYNCHRONIZE, Opcode.SYNCHRONIZE_EVENT, Opcode.SYNCHRONIZE_STREAM)


def asked(simulation: Simulation) -> list[str]:
    """What was executed, and where the host waited."""
    program = simulation.record(None).program
    return [
        program.operations[each.operand].name.split(".")[1] if each.opcode is Opcode.EXECUTE else each.opcode.value
        for each in program.issued()
        if each.opcode in (Opcode.EXECUTE, *WAITS)
    ]


def of_device() -> torch.Tensor:
    return torch.ones(4, device="cuda")


READS: dict[str, tuple[Callable[[], object], list[str]]] = {
    "item": (lambda: of_device().sum().item(), ["sum", "synchronize_stream"]),
    "bool": (lambda: bool(of_device().sum() > 0), ["sum", "gt", "synchronize_stream"]),
    "equal": (lambda: torch.equal(of_device(), of_device()), ["ones", "equal", "synchronize_stream"]),
    "nonzero": (lambda: of_device().nonzero(), ["nonzero", "synchronize_stream"]),
    "selection by a mask": (lambda: (x := of_device())[x > 0], ["gt", "index", "synchronize_stream"]),
    "copy to the host": (lambda: of_device().cpu(), ["_to_copy", "synchronize_stream"]),
    "large copy to the host": (lambda: of_device().expand(2**24, 4).contiguous().cpu(), ["clone", "_to_copy", "synchronize_stream"]),
    "copy to the host that does not wait": (lambda: of_device().to("cpu", non_blocking=True), ["_to_copy"]),
    "copy into pinned memory": (lambda: torch.empty(4).pin_memory().copy_(of_device()), ["copy_", "synchronize_stream"]),
    "copy into pinned memory that does not wait": (
        lambda: torch.empty(4).pin_memory().copy_(of_device(), non_blocking=True), ["copy_"],
    ),
    "copy into ordinary memory, which waits": (
        lambda: torch.empty(4).copy_(of_device(), non_blocking=True), ["copy_", "synchronize_stream"],
    ),
    "copy to the device": (lambda: (of_device(), torch.ones(4).cuda()), ["_to_copy", "synchronize_stream"]),
    "copy to the device that does not wait": (lambda: (of_device(), torch.ones(4).cuda(non_blocking=True)), ["_to_copy"]),
    "values": (lambda: (of_device(), torch.tensor([1.0, 2.0], device="cuda")), ["_to_copy", "synchronize_stream"]),
    "copy into a device tensor": (lambda: of_device().copy_(torch.ones(4)), ["copy_", "synchronize_stream"]),
    "copy into a device tensor that does not wait": (lambda: of_device().copy_(torch.ones(4), non_blocking=True), ["copy_"]),
    "copy on the device": (lambda: of_device().copy_(of_device()), ["ones", "copy_"]),
    "synchronize": (lambda: torch.cuda.synchronize(of_device().device), ["synchronize"]),
    "stream": (lambda: torch.cuda.current_stream(of_device().device).synchronize(), ["synchronize_stream"]),
    "event": (lambda: torch.cuda.current_stream(of_device().device).record_event().synchronize(), ["synchronize_event"]),
}  # fmt: skip


@pytest.mark.parametrize("name", READS)
def test_the_host_waits_after_what_it_reads_was_executed(name: str, simulation: Simulation) -> None:
    read, expected = READS[name]
    read()
    assert asked(simulation) == ["ones", *expected]


def test_the_host_waits_for_the_stream_that_the_value_is_read_on(simulation: Simulation) -> None:
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.ones(4, device="cuda").sum().item()
    program = simulation.record(None).program
    (wait,) = (each for each in program.issued() if each.opcode in WAITS)
    assert program.streams[wait.stream] == DeviceStream(device=0, index=0)


def test_a_gradient_scaler_reads_whether_gradients_are_finite(simulation: Simulation) -> None:
    parameter = torch.nn.Parameter(torch.ones(4, device="cuda"))
    optimizer, scaler = torch.optim.SGD([parameter], foreach=True), torch.amp.GradScaler("cuda")
    scaler.scale(parameter.sum()).backward()
    scaler.step(optimizer)
    told = asked(simulation)
    assert told[told.index("synchronize_stream", told.index("_amp_foreach_non_finite_check_and_unscale_")) + 1] == "_foreach_add_"
