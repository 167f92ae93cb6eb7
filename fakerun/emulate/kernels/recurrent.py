"""Recurrent networks: cuDNN runs a whole sequence in one kernel; here it runs step by step. The report says so."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode


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
        yield
