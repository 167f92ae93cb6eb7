"""Recurrent networks: cuDNN runs a whole sequence in a few kernels; here it runs step by step. The report says so.

What the device executes is recorded as cuDNN's operators, forward and backward; the memory is that of the steps.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.autograd_clock import EngineClock
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.emulate.device.fused_calls import FusedCalls
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import FUNCTIONS_OF_MODULES, RNN_FUNCTIONS, FakeTensor

FORWARD, BACKWARD = "aten._cudnn_rnn.default", "aten._cudnn_rnn_backward.default"


@contextmanager
def unfused_rnns(context: EmulationContext) -> Iterator[None]:
    """Do not pack the weights of `nn.LSTM` and similar modules: a CUDA build would call cuDNN and find no driver."""

    def flatten_parameters(self: torch.nn.RNNBase) -> None:
        if any(weight.is_cuda for weight in self.parameters()):
            context.findings.note(
                FindingCode.UNFUSED_RNN,
                f"{type(self).__name__} runs as one cuDNN kernel on a GPU, but step by step here. Memory is an estimate: each step keeps "
                "its own activations, and cuDNN's reserve space and workspace are not simulated.",
            )

    with Patches() as patches:
        patches.set(torch.nn.RNNBase, "flatten_parameters", flatten_parameters)
        for name in RNN_FUNCTIONS:
            patches.set(FUNCTIONS_OF_MODULES, name, _recorded(context, name, getattr(FUNCTIONS_OF_MODULES, name)))
        yield


def _recorded(context: EmulationContext, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, recorded as cuDNN's operator where it is cuDNN that a GPU would call."""
    mode = context.mode

    def call(*args: Any) -> Any:
        inputs = args[0]
        if type(inputs) is not FakeTensor or inputs.fake_device.type != ACCELERATOR or not torch.backends.cudnn.enabled:
            return function(*args)
        if mode.fused is None:
            mode.fused = FusedCalls(EngineClock())
        steps, weights = _sequence(name, args)
        with mode.fused.call(mode.later_kernel(BACKWARD, (inputs, weights), (inputs, weights), steps=steps)):
            results = function(*args)
        mode.executed_kernel(FORWARD, (inputs, weights), results, steps=steps)
        return results

    return call


def _sequence(name: str, args: Sequence[Any]) -> tuple[int, list[torch.Tensor]]:
    """How many steps the sequence has, and the weights of all layers.

    The arguments are the inputs, the states (a tensor; of an LSTM several), the weights, whether there are biases, the number of layers,
    dropout, whether it trains, whether it runs in both directions, whether the batch comes first; of packed sequences the sizes of the
    batch in each step come second, and there is no last one.
    """
    is_packed = isinstance(args[1] if name == "lstm" else args[2], torch.Tensor)
    weights = list(args[3 if is_packed else 2])
    steps = args[1].shape[0] if is_packed else args[0].shape[1 if args[-1] else 0]
    return int(steps), weights
