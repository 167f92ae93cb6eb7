"""Triton kernels: a launch computes nothing, and the values of its tensor arguments become unknown. The report says so.

Kernels write into existing tensors, so shapes and memory are exact without running them.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.devices import ACCELERATOR
from fakerun.emulate.unsupported.gaps import TRITON_KERNEL
from fakerun.errors import as_script_error
from fakerun.patching import Patches
from fakerun.torch_private import TRITON_ACTIVE_DRIVER, FakeTensor


@contextmanager
def skipped_triton_kernels(context: EmulationContext) -> Iterator[None]:
    """Answer for Triton until the context ends, if it is installed; torch has imported it then."""
    triton: Any = sys.modules.get("triton")
    with Patches() as patches:
        if triton is not None:
            patches.set(triton.runtime.jit.JITFunction, "run", _launch(context))
            patches.set(triton.runtime.autotuner.Autotuner, "run", _first_configuration)
            patches.set(triton.runtime.driver, TRITON_ACTIVE_DRIVER, _Driver(triton, context))
        yield


def _launch(context: EmulationContext) -> Callable[..., None]:
    def run(self: Any, *args: Any, grid: Any = None, warmup: bool = False, **kwargs: Any) -> None:
        TRITON_KERNEL.report(context.findings, f"What the Triton kernel {self.__name__} computes")
        arguments = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
        for position, value in enumerate((*args, *kwargs.values())):
            if type(value) is FakeTensor and value.device.type == ACCELERATOR:
                context.mode.known.forget(value)
            elif isinstance(value, torch.Tensor) and value.device.type == "cpu":
                raise as_script_error(ValueError(f"Pointer argument (at {position}) cannot be accessed from Triton (cpu tensor?)"))
        if not warmup:
            context.mode.executed_kernel(f"triton.{self.__name__}.default", arguments, None)

    return run


def _first_configuration(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Use the first configuration: a dry run cannot time them."""
    self.best_config = self.configs[0]
    return self.fn.run(*args, **kwargs, **self.best_config.all_kwargs())


class _Driver:
    """Replaces Triton's driver: the device and the target that it compiles for."""

    def __init__(self, triton: Any, context: EmulationContext) -> None:
        self._compiler, self._devices, self._hardware = triton.backends.compiler, context.devices, context.job.hardware
        self.utils = SimpleNamespace(get_device_properties=self._properties)

    def get_current_device(self) -> int:
        return self._devices.current

    def get_current_stream(self, device: Any = None) -> int:
        return 0

    def get_current_target(self) -> Any:
        major, minor = self._hardware.compute_capability
        return self._compiler.GPUTarget("cuda", 10 * major + minor, 32)

    def get_active_torch_device(self) -> torch.device:
        return torch.device(ACCELERATOR, self._devices.current)

    def get_device_interface(self) -> Any:
        return torch.cuda

    def _properties(self, device: int) -> dict[str, int]:
        properties: Any = torch.cuda.get_device_properties(device)
        return {
            "max_shared_mem": properties.shared_memory_per_block_optin,
            "max_num_regs": properties.regs_per_multiprocessor,
            "multiprocessor_count": properties.multi_processor_count,
            "warpSize": properties.warp_size,
        }
