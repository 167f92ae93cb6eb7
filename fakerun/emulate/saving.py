"""`torch.save` and `torch.load` with simulated tensors: what would be written is told, and nothing of the user's is overwritten."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.patching import Patches
from fakerun.emulate.torch_private import FakeTensor
from fakerun.records.observer import FindingSink
from fakerun.units import format_bytes


@contextmanager
def simulated_saving(findings: FindingSink) -> Iterator[None]:
    """Skip saves that hold simulated tensors; load real files onto the simulated accelerator."""
    save, load = torch.save, torch.load

    def simulated_save(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        count, size = _simulated(obj)
        if count == 0:
            save(obj, f, *args, **kwargs)
            return
        findings.note(
            "not-saved",
            f"torch.save of {count} simulated tensors ({format_bytes(size)}) to {getattr(f, 'name', f)} was skipped: they hold no values.",
        )

    def simulated_load(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        target = _accelerator_of(map_location)
        if target is None:
            return load(f, map_location, *args, **kwargs)
        return _moved(load(f, "cpu", *args, **kwargs), target)

    with Patches() as patches:
        for module in (torch, torch.serialization):
            patches.set(module, "save", simulated_save)
            patches.set(module, "load", simulated_load)
        yield


def _simulated(obj: Any) -> tuple[int, int]:
    """How many simulated tensors an object holds, and their bytes."""
    count = size = 0
    pending, seen = [obj], set()
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if isinstance(value, FakeTensor) or value.device.type == "cuda":
                count += 1
                size += value.numel() * value.element_size()
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, (list, tuple, set)):
            pending.extend(value)
        elif isinstance(value, torch.nn.Module):
            pending.extend((*value.parameters(), *value.buffers()))
        elif isinstance(value, torch.optim.Optimizer):
            pending.append(value.state_dict())
    return count, size


def _accelerator_of(location: Any) -> torch.device | None:
    if isinstance(location, (str, torch.device)) and torch.device(location).type == "cuda":
        return torch.device(location)
    if isinstance(location, dict):  # {"cuda:0": "cuda:3"}
        for target in location.values():
            return _accelerator_of(target)
    return None


def _moved(obj: Any, device: torch.device) -> Any:
    if isinstance(obj, torch.Tensor):
        return obj.to(device)
    if isinstance(obj, dict):
        return type(obj)((key, _moved(value, device)) for key, value in obj.items())
    if isinstance(obj, (list, tuple)):
        return type(obj)(_moved(value, device) for value in obj)
    return obj
