"""The facade of `torch.accelerator`, the device-independent API of the same accelerator."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.emulate.driver.streams import StreamTable
from fakerun.patching import Patches
from fakerun.torch_private import GET_ACCELERATOR, GET_ANY_ACCELERATOR

_MEMORY = (
    "empty_cache", "memory_stats", "memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved",
    "reset_accumulated_memory_stats", "reset_peak_memory_stats",
)  # fmt: skip


@contextmanager
def accelerator_facade(context: EmulationContext) -> Iterator[None]:
    """Answer for `torch.accelerator` until the context ends, with the functions of `torch.cuda` as they are when it begins."""
    accelerator, cuda = torch.accelerator, torch.cuda
    devices, streams = context.devices, context.part(StreamTable)

    functions: dict[str, Any] = {
        "is_available": lambda: True,
        "device_count": cuda.device_count,
        "current_accelerator": lambda check_available=False: torch.device(ACCELERATOR),
        "current_device_index": lambda: devices.current,
        "current_device_idx": lambda: devices.current,
        "set_device_index": cuda.set_device,
        "set_device_idx": cuda.set_device,
        "device_index": cuda.device,
        "current_stream": streams.current,
        "set_stream": streams.set_current,
        "synchronize": cuda.synchronize,
        "get_memory_info": cuda.mem_get_info,
    }
    with Patches() as patches:
        for name, function in functions.items():
            if hasattr(accelerator, name):
                patches.set(accelerator, name, function)
        for name in _MEMORY:
            for module in (accelerator, getattr(accelerator, "memory", None)):
                if hasattr(module, name):
                    patches.set(module, name, getattr(cuda, name))
        # torch's own code asks C++ directly.
        patches.set(*GET_ACCELERATOR, lambda: torch.device(ACCELERATOR))
        patches.set(*GET_ANY_ACCELERATOR, lambda check=None: torch.device(ACCELERATOR))
        patches.set(torch, "Stream", streams.Stream)
        patches.set(torch, "Event", streams.Event)
        yield
