"""The devices of the node as the driver's own tools number them: CUDA_VISIBLE_DEVICES does not hide any."""

import os
import uuid
from collections.abc import Mapping

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.driver.visible_devices import VisibleDevices


class NodeDevices:
    """What NVML and nvidia-smi know of the devices of the node."""

    def __init__(self, context: EmulationContext) -> None:
        self._devices, self._allocators = context.devices, context.allocators
        self._visible = VisibleDevices()
        self.hardware = context.job.hardware
        self.reserved_bytes = self.hardware.driver_reserved_bytes or 0
        self.count = context.job.nproc_per_node

    def uuid(self, index: int) -> str:
        """As `torch.cuda.get_device_properties().uuid` has it, with the driver's prefix."""
        return f"GPU-{uuid.UUID(int=index + 1)}"

    def of_rank(self, ordinal: int) -> int:
        """The node's number of a device that this rank calls `ordinal`."""
        return self._visible.index_on_node(ordinal)

    def processes(self, index: int) -> Mapping[int, int]:
        """The bytes that processes hold on a device of the node, by their number. Of all processes only this rank's is known."""
        used_bytes = self.used_bytes(index)
        return {os.getpid(): used_bytes} if used_bytes else {}

    def used_bytes(self, index: int) -> int:
        """What this rank has reserved on a device of the node, with its context."""
        ordinals = (ordinal for ordinal in range(self._devices.count) if self.of_rank(ordinal) == index)
        return sum(total - free for free, total in map(self._allocators.memory_info, ordinals))
