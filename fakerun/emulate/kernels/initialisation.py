"""Random initialisation that rejects samples: what it asks of its own samples is not worth telling, unless ranks communicate for it."""

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
    """Let `trunc_normal_` take its first samples (a neutral False answers its `.any()`), without a note about control flow.

    2.15: for that question the ranks that share a DTensor gather its mask, once for each round of samples (2.13 asks each rank alone).
    """
    communication, values = context.communication, context.part(UnknownValues)
    original = getattr(torch.nn.init, TRUNCATED_NORMAL)

    def truncated_normal(*args: Any, **kwargs: Any) -> Any:
        # The first random operation on DTensors communicates once, whatever is drawn: ranks agree on a random state.
        expected = communication.mark().calls + (not dtensors_share_random_state())
        with values.unnoted():
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
