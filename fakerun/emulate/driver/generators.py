"""Random generators of the accelerator: they keep a seed and a state, and are without effect on values that nobody computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fakerun.emulate.device.devices import ACCELERATOR, Devices
from fakerun.emulate.patching import Patches


@contextmanager
def accelerator_generators(devices: Devices) -> Iterator[None]:
    """Let `torch.Generator(device="cuda")` be made, and give each device its default generator."""
    original = torch.Generator

    class AnyGenerator(type(original)):  # type: ignore[misc]  # the metaclass of a class written in C
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, original)

        def __call__(cls, device: Any = "cpu") -> torch.Generator:
            device = torch.device(device)
            if device.type != ACCELERATOR:
                return original(device)
            generator = _AcceleratorGenerator()
            generator.place = torch.device(ACCELERATOR, devices.index(device))
            return generator

    with Patches() as patches:
        patches.set(torch, "Generator", AnyGenerator("Generator", (original,), {}))
        every = tuple(torch.Generator(device=f"{ACCELERATOR}:{index}") for index in range(devices.count))
        patches.set(torch.cuda, "default_generators", every)
        yield


class _AcceleratorGenerator(torch.Generator):
    """A host generator that says it is the accelerator's."""

    place: torch.device

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place
