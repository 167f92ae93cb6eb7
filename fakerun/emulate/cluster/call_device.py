"""Which device runs a communication call: the one that its tensors are on, else the one that torch chooses.

Sources: torch/distributed/distributed_c10d.py (`_get_object_coll_device`, `barrier`) and ProcessGroupNCCL.cpp (`barrier`), 2.11 to 2.15.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist

from fakerun.emulate.cluster.backend_checks import backend_of
from fakerun.emulate.device.devices import Devices
from fakerun.torch_private import device_types_of


class CallDevices:
    """The CUDA device of each call, as the script counts them; None for a call on the host, and for one of gloo, which goes through it."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self._first_used: dict[str, int] = {}
        """By group, the device of its first call."""

    def of_tensors(self, group: dist.ProcessGroup, tensor: torch.Tensor) -> int | None:
        """The device of a call that communicates `tensor`."""
        if tensor.device.type not in _backed(group):
            return self.of_objects(group)
        on_host = tensor.device.type == "cpu" or backend_of(group, (tensor,)) == "gloo"
        return None if on_host else self._used(group, tensor.device.index)

    def of_objects(self, group: dist.ProcessGroup) -> int | None:
        """The device of a call that communicates Python objects: they travel in tensors of the current device, or of the host."""
        return None if _prefers_host(group) else self._used(group, self._devices.current)

    def of_barrier(self, group: dist.ProcessGroup, tensor: torch.Tensor | None, device_ids: Sequence[int]) -> int | None:
        """The device of a barrier, which torch hands a tensor of the device type that it chose.

        NCCL synchronises on the device asked for, else on the one that the group is bound to, else on the one that the group used
        first, else on the one that the rank would have if each had its own.
        """
        on_host = tensor.device.type == "cpu" if tensor is not None and tensor.device.type in _backed(group) else _prefers_host(group)
        if on_host:
            return None
        if device_ids:
            return self._used(group, device_ids[0])
        bound = group.bound_device_id
        if bound is not None and bound.index is not None:
            return self._used(group, bound.index)
        return self._used(group, self._first_used.get(str(group.group_name), dist.get_rank() % torch.cuda.device_count()))

    def _used(self, group: dist.ProcessGroup, index: int) -> int:
        self._first_used.setdefault(str(group.group_name), index)
        return index


def _backed(group: dist.ProcessGroup) -> list[str]:
    """The types of the devices that the group has a backend for."""
    return [str(device.type) for device in device_types_of(group)]


def _prefers_host(group: dist.ProcessGroup) -> bool:
    """Whether torch uses the host for calls without tensors."""
    backed = _backed(group)
    return "cpu" in backed or not backed
