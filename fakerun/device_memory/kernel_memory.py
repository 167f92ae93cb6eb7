"""What kernels and the libraries below them take from the caching allocator beside the tensors that an operator returns.

A meta kernel does not show it. The rules are those of the host code of each kernel, by the name and the arguments of the operation.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import Operation

KIB = 1024
MIB = 1024**2

CUBLAS_WORKSPACE_CONFIG = "CUBLAS_WORKSPACE_CONFIG"
_MATRIX_PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "vdot"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelMemory:
    """`temporary_bytes` are requests that are made when the kernel is launched and freed at once, all together.

    `uses_cublas`: it needs the workspace of the cuBLAS handle of its thread and stream, which is allocated once and stays.
    """

    temporary_bytes: tuple[int, ...] = ()
    uses_cublas: bool = False


def kernel_memory(operation: Operation, hardware: Accelerator) -> KernelMemory:
    """What an operation takes on this hardware."""
    _, _, name = operation.name.partition(".")
    return KernelMemory(uses_cublas=name.partition(".")[0] in _MATRIX_PRODUCTS)


def cublas_workspace_bytes(hardware: Accelerator, variables: Mapping[str, str]) -> int:
    """The workspace of one cuBLAS handle on one stream (`getChosenWorkspaceSize`, aten/src/ATen/cuda/CublasHandlePool.cpp)."""
    hopper = not hardware.is_amd and hardware.compute_capability[0] >= 9
    return 32 * MIB if hopper else 2 * 4096 * KIB + 8 * 16 * KIB
