"""Random generators of the accelerator.

They keep a seed and an offset, as CUDA's generators do. No values are drawn from them.
"""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR, Devices
from fakerun.patching import Patches
from fakerun.torch_private import CUDA_GET_RNG_OFFSET, CUDA_SET_RNG_OFFSET


@contextmanager
def accelerator_generators(context: EmulationContext) -> Iterator[None]:
    """Let `torch.Generator(device="cuda")` be made, and give each device its default generator."""
    devices, original = context.devices, torch.Generator

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


def random_state(devices: Devices) -> dict[str, Any]:
    """What seeds, saves and restores the default generators, as `torch.cuda` and `torch.cuda.random` hold it."""

    def default(device: Any = ACCELERATOR) -> torch.Generator:
        return _default_generator(devices, device)

    def set_all(states: Iterable[torch.Tensor]) -> None:
        for index, state in enumerate(states):
            default(index).set_state(state)

    def seed_all_with(seed: int) -> None:
        for generator in torch.cuda.default_generators:
            generator.manual_seed(seed)

    return {
        "get_rng_state": lambda device=ACCELERATOR: default(device).get_state(),
        "get_rng_state_all": lambda: [default(index).get_state() for index in range(devices.count)],
        "set_rng_state": lambda new_state, device=ACCELERATOR: default(device).set_state(new_state) and None,
        "set_rng_state_all": set_all,
        "manual_seed": lambda seed: default().manual_seed(seed) and None,
        "manual_seed_all": seed_all_with,
        "seed": lambda: default().seed() and None,
        "seed_all": lambda: seed_all_with(default().seed()),
        "initial_seed": lambda: default().initial_seed(),
    }


def random_offset(devices: Devices) -> dict[str, Any]:
    """What reads and sets the offset of a default generator, which `torch.cuda` alone holds."""
    return {
        CUDA_GET_RNG_OFFSET: lambda device=ACCELERATOR: _default_generator(devices, device).get_offset(),
        CUDA_SET_RNG_OFFSET: lambda offset, device=ACCELERATOR: _default_generator(devices, device).set_offset(offset) and None,
    }


def _default_generator(devices: Devices, device: Any) -> torch.Generator:
    devices.initialize()
    return torch.cuda.default_generators[devices.index(device)]


@dataclass(slots=True)
class _Philox:
    """The state of a CUDA generator, which several generators may share (`graphsafe_get_state`)."""

    seed: int
    offset: int = 0


_STATE = struct.Struct("<QQ")
"""The bytes of a state: the seed, then the offset (CUDAGeneratorImpl::get_state)."""


class _AcceleratorGenerator(torch.Generator):
    """A host generator that reports the accelerator as its device and has the state of a CUDA generator."""

    place: torch.device

    def __init__(self) -> None:
        super().__init__()
        self._philox = _Philox(super().initial_seed())

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place

    def manual_seed(self, seed: int) -> Self:
        super().manual_seed(seed)  # which refuses what is not a seed
        self._philox.seed, self._philox.offset = super().initial_seed(), 0
        return self

    def seed(self) -> int:
        self.manual_seed(super().seed())
        return self._philox.seed

    def initial_seed(self) -> int:
        return self._philox.seed

    def get_offset(self) -> int:
        return self._philox.offset

    def set_offset(self, offset: int) -> Self:
        if offset % 4:
            raise RuntimeError("offset must be a multiple of 4")
        self._philox.offset = offset
        return self

    def get_state(self) -> torch.Tensor:
        packed = bytearray(_STATE.pack(self._philox.seed, self._philox.offset))
        return torch.frombuffer(packed, dtype=torch.uint8)

    def set_state(self, state: torch.Tensor) -> Self:
        if state.device.type != "cpu" or state.dtype != torch.uint8:
            raise TypeError("RNG state must be a torch.ByteTensor")
        if state.numel() != _STATE.size:
            raise RuntimeError("RNG state is wrong size")
        self._philox.seed, self._philox.offset = _STATE.unpack(bytes(state.tolist()))
        return self

    def clone_state(self) -> torch.Generator:
        return self._with(replace(self._philox))

    def graphsafe_get_state(self) -> torch.Generator:
        return self._with(self._philox)

    def graphsafe_set_state(self, state: torch.Generator) -> Self:
        if not isinstance(state, _AcceleratorGenerator):
            raise TypeError("Expected a CUDA Generator")
        self._philox = state._philox
        return self

    def _with(self, philox: _Philox) -> torch.Generator:
        other = type(self)()
        other.place, other._philox = self.place, philox
        return other
