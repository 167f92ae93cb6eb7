"""What `torch.cuda.get_device_properties()` returns: every field that torch 2.13 to 2.15 have.

Limits of a multiprocessor are those of CUDA's programming guide, "Technical Specifications per Compute Capability", and of AMD's CDNA 3
ISA for the one AMD device; sizes of the second-level cache are from the vendors' architecture papers.
"""

import uuid
from typing import Any

from fakerun.emulate.refusals.gaps import DEVICE_CLOCKS
from fakerun.hardware.catalogue import HardwareSpec
from fakerun.records.observer import FindingSink

_KIB, _MIB = 2**10, 2**20
_STATIC_SHARED_BYTES = 48 * _KIB
_RESERVED_SHARED_BYTES = 1 * _KIB
"""Of the shared memory of a multiprocessor, what the driver keeps for each block since compute capability 8.0."""

_SHARED_KIB = {(7, 0): 96, (8, 0): 164, (8, 6): 100, (8, 9): 100, (9, 0): 228, (10, 0): 228, (9, 4): 64}
_RELEASED_FOR = ((7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0))
_THREADS = {(8, 6): 1536, (8, 9): 1536}
_L2_MIB = {
    "v100-32gb": 6, "a100-40gb": 40, "a100-80gb": 40, "h100-80gb": 50, "h200": 50, "b200": 126, "gb200": 126, "mi300x": 4, "l4": 48,
    "a10g": 6, "rtx4090": 72,
}  # fmt: skip


class DeviceProperties:
    """Stands for torch's class of the same purpose."""

    def __init__(self, hardware: HardwareSpec, index: int, findings: FindingSink) -> None:
        self._findings = findings
        capability = hardware.compute_capability
        shared = _SHARED_KIB[capability] * _KIB
        self.name = hardware.device_name
        self.major, self.minor = capability
        self.total_memory = hardware.usable_bytes
        self.multi_processor_count = hardware.multiprocessors
        self.warp_size = 64 if is_amd(hardware) else 32
        self.max_threads_per_block = 1024
        self.max_threads_per_multi_processor = _THREADS.get(capability, 2048)
        self.regs_per_multiprocessor = 65536
        self.shared_memory_per_multiprocessor = shared
        self.shared_memory_per_block = shared if is_amd(hardware) else _STATIC_SHARED_BYTES
        self.shared_memory_per_block_optin = shared - (_RESERVED_SHARED_BYTES if capability >= (8, 0) and not is_amd(hardware) else 0)
        self.L2_cache_size = _L2_MIB[hardware.name] * _MIB
        self.is_integrated = self.is_multi_gpu_board = 0
        self.gcnArchName = "gfx942:sramecc+:xnack-" if is_amd(hardware) else hardware.device_name
        self.uuid = uuid.UUID(int=index + 1)
        self.pci_domain_id, self.pci_bus_id, self.pci_device_id = 0, index + 1, 0

    def __getattr__(self, name: str) -> Any:
        if name in ("clock_rate", "memory_clock_rate", "memory_bus_width"):
            DEVICE_CLOCKS.tell(self._findings, f"torch.cuda.get_device_properties().{name}")
            return DEVICE_CLOCKS.answer
        raise AttributeError(f"'torch._C._CudaDeviceProperties' object has no attribute '{name}'")

    def __repr__(self) -> str:
        return (
            f"_CudaDeviceProperties(name='{self.name}', major={self.major}, minor={self.minor}, "
            f"total_memory={self.total_memory // _MIB}MB, multi_processor_count={self.multi_processor_count}, uuid={self.uuid}, "
            f"pci_bus_id={self.pci_bus_id}, pci_device_id={self.pci_device_id}, pci_domain_id={self.pci_domain_id}, "
            f"L2_cache_size={self.L2_cache_size // _MIB}MB)"
        )


def built_for(hardware: HardwareSpec) -> list[str]:
    """The architectures that the job's torch has kernels for: those of PyTorch's release for CUDA 13, and always the job's own device.

    Whoever builds an extension (`torch.utils.cpp_extension.load_inline`) takes the greatest of them, so it is never an empty list.
    """
    if is_amd(hardware):
        return ["gfx942"]
    return [f"sm_{major}{minor}" for major, minor in sorted({*_RELEASED_FOR, hardware.compute_capability})]


def is_amd(hardware: HardwareSpec) -> bool:
    """Whether a ROCm build of torch would run on it."""
    return hardware.device_name.startswith("AMD")
