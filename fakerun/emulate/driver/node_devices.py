"""The devices of the node as the driver's own tools number them: CUDA_VISIBLE_DEVICES does not hide any."""

import uuid

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.driver.visible_devices import VisibleDevices


class NodeDevices:
    """What NVML and nvidia-smi know of the devices of the node."""

    def __init__(self, context: EmulationContext) -> None:
        self._devices, self._allocators = context.devices, context.allocators
        self._visible = VisibleDevices()
        self.hardware = context.job.hardware
        self.count = context.job.nproc_per_node

    def uuid(self, index: int) -> str:
        """As `torch.cuda.get_device_properties().uuid` has it, with the driver's prefix."""
        return f"GPU-{uuid.UUID(int=index + 1)}"

    def used_bytes(self, index: int) -> int:
        """What this rank has reserved on a device of the node."""
        ordinals = (ordinal for ordinal in range(self._devices.count) if self._visible.index_on_node(ordinal) == index)
        return sum(total - free for free, total in map(self._allocators.memory_info, ordinals))
