"""What is not emulated: using it ends the script with a message that names the API and a way round, never with a silent guess."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch

from fakerun.emulate.patching import Patches
from fakerun.emulate.refusals.unsupported import SKIP_IT
from fakerun.errors import EmulationGapError

CUDA_GAPS = {
    "clock_rate": "it reads a sensor of the device",
    "device_memory_used": "it asks the driver about all processes; torch.cuda.memory_allocated() is simulated",
    "memory_snapshot": "the allocator's segments are not simulated; torch.cuda.memory_stats() is",
    "memory_usage": "it reads a sensor of the device",
    "power_draw": "it reads a sensor of the device",
    "temperature": "it reads a sensor of the device",
    "utilization": "it reads a sensor of the device",
    "cudart": "it hands out the CUDA runtime itself",
    "list_gpu_processes": "it asks the driver about all processes",
    "make_graphed_callables": "it captures graphs; call the callables as they are",
}
"""Names in `torch.cuda`, and why each is not emulated."""

_OTHER_GAPS = {
    "torch.distributed.rpc.init_rpc": "remote procedure calls need the other processes",
}


def gap(api: str) -> Any:
    """A stand-in for `api` that says that it is missing."""

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        reason = CUDA_GAPS.get(api.removeprefix("torch.cuda."), _OTHER_GAPS.get(api, ""))
        raise EmulationGapError(f"{api} is not emulated: {reason}. {SKIP_IT}")

    return missing


@contextmanager
def other_gaps() -> Iterator[None]:
    """Say so where something outside `torch.cuda` is missing."""
    with Patches() as patches:
        if torch.distributed.rpc.is_available():
            patches.set(torch.distributed.rpc, "init_rpc", gap("torch.distributed.rpc.init_rpc"))
        yield
