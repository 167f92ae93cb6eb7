"""GradScaler skips a step if gradients are not finite. Simulated gradients have no values and are assumed to be finite."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.patching import Patches
from fakerun.torch_private import STEP_IF_FINITE


@contextmanager
def finite_gradients(context: EmulationContext) -> Iterator[None]:
    """Let `GradScaler.step` always step, as it does in nearly every step of real training, once the host has read whether it may."""

    def step(self: Any, optimizer: torch.optim.Optimizer, state: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        for device in state["found_inf_per_device"]:
            if device.type == ACCELERATOR:
                context.execution.host_waited(device.index)
        return optimizer.step(*args, **kwargs)

    with Patches() as patches:
        patches.set(torch.amp.GradScaler, STEP_IF_FINITE, step)
        yield
