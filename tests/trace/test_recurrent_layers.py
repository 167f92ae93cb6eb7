"""Recurrent layers: what the device executes is cuDNN's operators, forward and backward, not the operators of each step."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from fakerun.rank.simulation import Simulation
from fakerun.records.device_program import Opcode, Operation


def executed(simulation: Simulation) -> list[Operation]:
    program = simulation.record(None).program
    return [program.operations[each.operand] for each in program.issued() if each.opcode is Opcode.EXECUTE]


def names(simulation: Simulation) -> list[str]:
    return [each.name.split(".")[1] for each in executed(simulation)]


def sequence() -> torch.Tensor:
    return torch.ones(2, 5, 8, device="cuda", requires_grad=True)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_call_is_one_operation_and_its_backward_another(kind: Any, simulation: Simulation) -> None:
    layer = kind(8, 4, num_layers=2, batch_first=True).cuda()
    before = len(executed(simulation))
    layer(sequence())[0].sum().backward()
    told = names(simulation)[before:]
    assert told.count("_cudnn_rnn") == told.count("_cudnn_rnn_backward") == 1
    assert not {"addmm", "mm", "sigmoid", "tanh", "mul", "add", "stack"}.intersection(told)
    found = {each.name: each for each in executed(simulation)}
    forward = found["aten._cudnn_rnn.default"]
    assert forward.arguments.startswith("float32[2,5,8], [float32[")
    assert forward.arguments.endswith("steps=5")
    assert all(weight.grad is not None for weight in layer.parameters())


def test_what_is_around_it_is_executed_as_ever(simulation: Simulation) -> None:
    layer, head = nn.LSTM(8, 4).cuda(), nn.Linear(4, 3, bias=False).cuda()
    before = len(executed(simulation))
    for _ in range(2):
        head(layer(sequence().sin())[0]).sum().backward()
    told = [each for each in names(simulation)[before:] if each not in ("ones", "ones_like", "zeros", "sum", "clone")]
    forward, backward = ["sin", "_cudnn_rnn", "mm"], ["mm", "mm", "_cudnn_rnn_backward", "cos", "mul"]
    sums = [each for each in told if each == "add_"]
    assert [each for each in told if each != "add_"] == [*forward, *backward, *forward, *backward]
    assert len(sums) == len(list(layer.parameters())) + 1  # of the second gradient of each weight with the first, in place


def test_packed_sequences_have_the_steps_of_the_longest(simulation: Simulation) -> None:
    packed = pack_padded_sequence(torch.ones(3, 6, 8, device="cuda"), torch.tensor([6, 4, 1]), batch_first=True)
    nn.GRU(8, 4, batch_first=True).cuda()(packed)
    (found,) = {each for each in executed(simulation) if "_cudnn_rnn" in each.name}
    assert found.arguments.startswith("float32[11,8], ")
    assert found.arguments.endswith("steps=6")


def test_without_cudnn_each_step_is_executed(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "enabled", False)
    nn.LSTM(8, 4).cuda()(sequence())
    told = names(simulation)
    assert "_cudnn_rnn" not in told
    assert "sigmoid_" in told or "sigmoid" in told


def test_on_the_host_nothing_is_executed_on_the_device(simulation: Simulation) -> None:
    nn.LSTM(8, 4)(torch.ones(2, 5, 8))[0].sum().backward()
    assert not names(simulation)


def test_tensors_are_free_after_a_step(simulation: Simulation) -> None:
    """What reports backward keeps none of them."""
    layer = nn.LSTM(8, 4).cuda()
    held = []
    for _ in range(3):
        layer(sequence())[0].sum().backward()
        held.append(torch.cuda.memory_allocated())
    assert held[1] == held[2]
