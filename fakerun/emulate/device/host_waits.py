"""Where the host waits for the accelerator: reads of values, and synchronisation.

Calls on the accelerator do not make the host wait. One that never completes, because other ranks never make it, leaves the work queued
behind it undone, and stops the host at the next of these places.
"""

from collections.abc import Sequence

import torch

from fakerun.emulate.context import EmulationContext


class HostWaits:
    """Ends this rank where the host waits for the accelerator, if a call there never completes."""

    def __init__(self, context: EmulationContext) -> None:
        self._mailbox = context.mailbox
        self._execution = context.execution
        self._incomplete: tuple[int, Sequence[int]] | None = None

    def never_completes(self, call: int, waits_for: Sequence[int]) -> None:
        """The communication call of that number, on the accelerator, waits for ever for these ranks. The first such call is what counts."""
        self._incomplete = self._incomplete or (call, waits_for)

    def read(self, tensor: torch.Tensor) -> None:
        """The host waits for what is queued on the current stream of the tensor's device, and reads the tensor."""
        self._execution.host_waited(tensor.device.index)
        self.wait()

    def wait(self) -> None:
        """The host waits for what is queued on the accelerator."""
        if self._incomplete is not None:
            self._mailbox.block(*self._incomplete)
