"""What `torch.cuda.get_device_properties()` returns: every field that torch 2.13 to 2.15 have, from the hardware's data.

The limits that all devices of a vendor have are those of CUDA's programming guide, "Technical Specifications per Compute Capability", and
of AMD's CDNA 3 ISA. A figure that the data lacks is a gap: reading it adds a finding and returns a placeholder.
"""

import uuid
from typing import Any

from fakerun.emulate.unsupported.gaps import DEVICE_FIGURES
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.observer import FindingSink

_KIB, _MIB = 2**10, 2**20
_STATIC_SHARED_BYTES = 48 * _KIB
_RESERVED_SHARED_BYTES = 1 * _KIB
"""Of the shared memory of a multiprocessor, what the driver keeps for each block since compute capability 8.0."""

_RELEASED_FOR = ((7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0))


class DeviceProperties:
    """Replaces torch's class of the same purpose."""

    def __init__(self, hardware: Accelerator, index: int, findings: FindingSink) -> None:
        self._findings = findings
        self.name = hardware.device_name
        self.major, self.minor = hardware.compute_capability
        self.total_memory = hardware.usable_bytes
        self.multi_processor_count = hardware.multiprocessors
        self.warp_size = 64 if hardware.is_amd else 32
        self.max_threads_per_block = 1024
        self.is_integrated = self.is_multi_gpu_board = 0
        self.gcnArchName = hardware.gcn_architecture or hardware.device_name
        self.uuid = uuid.UUID(int=index + 1)
        self.pci_domain_id, self.pci_bus_id, self.pci_device_id = 0, index + 1, 0
        self._figures = _figures(hardware)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._figures:
            raise AttributeError(f"'torch._C._CudaDeviceProperties' object has no attribute '{name}'")
        value = self._figures[name]
        if value is None:
            DEVICE_FIGURES.report(self._findings, f"torch.cuda.get_device_properties().{name}")
            return DEVICE_FIGURES.answer
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._figures})

    def __repr__(self) -> str:
        l2_cache = self._figures["L2_cache_size"]
        return (
            f"_CudaDeviceProperties(name='{self.name}', major={self.major}, minor={self.minor}, "
            f"total_memory={self.total_memory // _MIB}MB, multi_processor_count={self.multi_processor_count}, uuid={self.uuid}, "
            f"pci_bus_id={self.pci_bus_id}, pci_device_id={self.pci_device_id}, pci_domain_id={self.pci_domain_id}, "
            f"L2_cache_size={0 if l2_cache is None else l2_cache // _MIB}MB)"
        )


def _figures(hardware: Accelerator) -> dict[str, int | None]:
    """The fields that the data may lack. torch gives clocks in kHz."""
    shared = hardware.shared_memory_bytes
    per_block = shared if hardware.is_amd else _STATIC_SHARED_BYTES
    return {
        "max_threads_per_multi_processor": hardware.threads_per_multiprocessor,
        "regs_per_multiprocessor": hardware.registers_per_multiprocessor,
        "shared_memory_per_multiprocessor": shared,
        "shared_memory_per_block": per_block,
        "shared_memory_per_block_optin": None if shared is None else shared - _kept_for_a_block(hardware),
        "L2_cache_size": hardware.l2_cache_bytes,
        "clock_rate": _khz(hardware.clock_hz),
        "memory_clock_rate": _khz(hardware.memory_clock_hz),
        "memory_bus_width": hardware.memory_bus_bits,
    }


def _kept_for_a_block(hardware: Accelerator) -> int:
    return _RESERVED_SHARED_BYTES if hardware.compute_capability >= (8, 0) and not hardware.is_amd else 0


def _khz(frequency_hz: int | None) -> int | None:
    return None if frequency_hz is None else frequency_hz // 1000


def built_for(hardware: Accelerator) -> list[str]:
    """The architectures that the job's torch has kernels for: those of PyTorch's release for CUDA 13, and always the job's own device.

    Whoever builds an extension (`torch.utils.cpp_extension.load_inline`) takes the greatest of them, so it is never an empty list.
    """
    if hardware.is_amd:
        return [(hardware.gcn_architecture or "gfx942").partition(":")[0]]
    return [f"sm_{major}{minor}" for major, minor in sorted({*_RELEASED_FOR, hardware.compute_capability})]
