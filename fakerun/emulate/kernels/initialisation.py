"""Random initialisation that rejects samples. Its checks of unknown samples add a finding only if they communicate."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.unknown_values import UnknownValues
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import TRUNCATED_NORMAL, dtensors_share_random_state


@contextmanager
def accepted_samples(context: EmulationContext) -> Iterator[None]:
    """Let `trunc_normal_` accept its first samples (the placeholder False answers its `.any()`), without a finding about control flow.

    In torch 2.15 the ranks that share a DTensor gather its mask once per round of samples; in 2.13 each rank checks its own.
    """
    communication, values = context.communication, context.part(UnknownValues)
    original = getattr(torch.nn.init, TRUNCATED_NORMAL)

    def truncated_normal(*args: Any, **kwargs: Any) -> Any:
        # The first random operation on DTensors broadcasts a random state, whatever is drawn.
        expected = communication.mark().calls + (not dtensors_share_random_state())
        with values.without_findings():
            result = original(*args, **kwargs)
        if communication.mark().calls > expected:
            context.findings.note(
                FindingCode.ASSUMED_SAMPLES,
                "trunc_normal_ of a DTensor accepted its first samples. On a GPU it may resample, and each round communicates.",
                hint="Initialisation may take a few more collectives than shown. Training is not affected.",
            )
        return result

    with Patches() as patches:
        patches.set(torch.nn.init, TRUNCATED_NORMAL, truncated_normal)
        yield
