"""The accelerators that the script sees, and the device type by which C++ knows them.

The script sees `cuda:N`. torch's C++ asks a tensor's device to find a device guard and an autograd queue; without a GPU there is
neither for CUDA. `lazy` has a guard in every build, is served by the CPU queue (so backward runs in the calling thread, under its
modes), and is otherwise unused. The mapping between the two is a bijection, so it can be inverted anywhere.
"""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import torch

from fakerun.errors import as_script_error

ACCELERATOR = "cuda"
CPP_ACCELERATOR = "lazy"


def is_ordinal(value: Any) -> bool:
    """Whether torch takes a value for the number of a device: also one of NumPy's integers, but no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def ordinal_as_device(value: Any) -> Any:
    """The device of an ordinal, also of one that is followed as a number of the rank's; anything else as it is."""
    return torch.device(ACCELERATOR, int(value)) if is_ordinal(value) else value


class Devices:
    """How many accelerators this process sees, and which one is current."""

    def __init__(self, count: int, begin: Callable[[], None]) -> None:
        """`begin` is called when CUDA is used for the first time."""
        self.count = count
        self.current = 0
        self.initialized = False
        """Whether CUDA would be initialised: `init_device_mesh` sets the device of a script that has not used CUDA."""
        self._begin = begin
        self._cpp_devices: dict[torch.device, torch.device] = {}
        self._python_devices: dict[torch.device, torch.device] = {}

    def initialize(self) -> None:
        """CUDA is used."""
        if not self.initialized:
            self._begin()
            self.initialized = True

    def index(self, device: Any) -> int:
        """The ordinal that `device` (None, int, str or torch.device) means.

        Raises:
            RuntimeError: as CUDA does, for an ordinal that this host does not have.
        """
        if isinstance(device, str):
            device = torch.device(device)
        ordinal = device.index if isinstance(device, torch.device) else device
        if ordinal is None or ordinal == -1:
            return self.current
        self.check(ordinal)
        return int(ordinal)

    def check(self, ordinal: int) -> None:
        """Raise CUDA's error for an ordinal that this host does not have."""
        if not 0 <= ordinal < self.count:
            error = torch.AcceleratorError(  # the class that CUDA errors have since torch 2.8
                "CUDA error: invalid device ordinal\n"
                f"GPU device may be out of range, do you have enough GPUs? (cuda:{ordinal} asked for, {self.count} on this host)"
            )
            raise as_script_error(error)

    def to_cpp(self, device: torch.device) -> torch.device:
        """The device as C++ sees it. C++ asks some thousand times per step."""
        known = self._cpp_devices.get(device)
        if known is not None:
            return known
        if device.type != ACCELERATOR:
            return device
        if device.index is None:
            return torch.device(CPP_ACCELERATOR, self.current)
        return self._cpp_devices.setdefault(device, torch.device(CPP_ACCELERATOR, device.index))

    def to_python(self, device: torch.device) -> torch.device:
        """The device as Python sees it: the inverse of `to_cpp`; a missing ordinal becomes the current one."""
        known = self._python_devices.get(device)
        if known is not None:
            return known
        if device.type == CPP_ACCELERATOR:
            if device.index is None:
                return torch.device(ACCELERATOR, self.current)
            return self._python_devices.setdefault(device, torch.device(ACCELERATOR, device.index))
        if device.type == ACCELERATOR and device.index is None:
            return torch.device(ACCELERATOR, self.current)
        return device
