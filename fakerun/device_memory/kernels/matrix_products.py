"""The workspaces of cuBLAS and cuBLASLt, and which products use which.

Sizes and lifetime: aten/src/ATen/cuda/CublasHandlePool.cpp, and the code of `parseChosenWorkspaceSize`, `getCUDABlasLtWorkspaceSize` and
`getCUDABlasLtWorkspace` in the libraries of torch 2.11.0 and 2.14.1. Choice of the library: aten/src/ATen/native/cuda/Blas.cpp.
A handle is of a thread, and its workspace of the handle and the stream.

- 2.11: 32 MiB on compute capability 9.0, else 8.125 MiB. From 2.12 also on 10.x and 12.x (pull request 175344), later on 11.x.
- cuBLASLt has 1 MiB of its own in 2.11, beside cuBLAS's, which its handle brings along. From 2.12 it takes cuBLAS's
  (TORCH_CUBLASLT_UNIFIED_WORKSPACE, pull request 175879), and its handle brings none.
- From 2.15 workspaces are those of one call, and freed after it (pull request 194311), unless TORCH_CUBLAS_WORKSPACE_CACHE=1.
- ROCm: 128 MiB on gfx94x and gfx95x, else 32 MiB; 76 MiB for hipBLASLt; never unified, always kept.
"""

import re
from collections.abc import Callable, Mapping

from fakerun.device_memory.kernels.kernel_memory import KIB, MIB, NOTHING, KernelMemory, Platform, Workspace, temporaries
from fakerun.device_memory.kernels.operands import Operands, TensorOperand, is_dense

CUBLAS_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG",)
CUBLASLT_VARIABLES = ("CUBLASLT_WORKSPACE_SIZE",)
HIPBLAS_VARIABLES = (*CUBLAS_VARIABLES, "HIPBLAS_WORKSPACE_CONFIG", "ROCBLAS_WORKSPACE_CONFIG")
HIPBLASLT_VARIABLES = (*CUBLASLT_VARIABLES, "HIPBLASLT_WORKSPACE_SIZE")
UNIFIED_WORKSPACE = "TORCH_CUBLASLT_UNIFIED_WORKSPACE"
WORKSPACE_CACHE = "TORCH_CUBLAS_WORKSPACE_CACHE"
DISABLE_ADDMM_LT = "DISABLE_ADDMM_CUDA_LT"
PREFER_LT = ("TORCH_BLAS_PREFER_CUBLASLT", "TORCH_BLAS_PREFER_HIPBLASLT")

VARIABLES = (*HIPBLAS_VARIABLES, *HIPBLASLT_VARIABLES, UNIFIED_WORKSPACE, WORKSPACE_CACHE, DISABLE_ADDMM_LT, *PREFER_LT)
"""The variables of the environment that decide about workspaces."""

_LT_DTYPES = ("float16", "bfloat16", "float32")
_HIPBLASLT_PREFERRED = ("gfx90a", "gfx942", "gfx950", "gfx120")
"""Architectures on which ROCm builds send products of these types to hipBLASLt (`blasPreferredBackend`, aten/src/ATen/Context.cpp)."""


def cublas_workspace_bytes(platform: Platform) -> int:
    """The workspace of one handle on one stream."""
    text = _first(platform.variables, HIPBLAS_VARIABLES if platform.hardware.is_amd else CUBLAS_VARIABLES)
    pools = re.findall(r":([0-9]+):([0-9]+)", text or "")
    return sum(int(size) * KIB * int(count) for size, count in pools) if pools else _default_bytes(platform)


def _default_bytes(platform: Platform) -> int:
    hardware = platform.hardware
    if hardware.is_amd:
        return 128 * MIB if (hardware.gcn_architecture or "").startswith(("gfx94", "gfx95")) else 32 * MIB
    capability = hardware.compute_capability
    large = capability == (9, 0) if platform.torch_version < (2, 12) else 9 <= capability[0] <= 12
    return 32 * MIB if large else 2 * 4096 * KIB + 8 * 16 * KIB


def cublaslt_workspace_bytes(platform: Platform) -> int:
    """The workspace of cuBLASLt where it has one of its own; cuBLAS's is the most it may be, unless they are kept apart."""
    is_amd = platform.hardware.is_amd
    text = _first(platform.variables, HIPBLASLT_VARIABLES if is_amd else CUBLASLT_VARIABLES)
    number = re.match(r"\s*\+?([0-9]+)", text or "")
    kib = int(number[1]) if number else 76 * 1024 if is_amd else 1024
    if is_amd or not _keeps(platform) or platform.flag(UNIFIED_WORKSPACE) is False:
        return kib * KIB
    return min(kib * KIB, cublas_workspace_bytes(platform))


def _first(variables: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((variables[name] for name in names if name in variables), None)


def _keeps(platform: Platform) -> bool:
    """Whether workspaces are kept from call to call."""
    return platform.torch_version < (2, 15) or platform.hardware.is_amd or platform.flag(WORKSPACE_CACHE) is True


def _cublas(platform: Platform) -> KernelMemory:
    nbytes = cublas_workspace_bytes(platform)
    return KernelMemory(workspaces=_kept("cublas", nbytes)) if _keeps(platform) else temporaries(nbytes)


def _cublaslt(platform: Platform) -> KernelMemory:
    nbytes = cublaslt_workspace_bytes(platform)
    if not _keeps(platform):
        return temporaries(nbytes)
    own = _kept("cublaslt", nbytes)
    if platform.hardware.is_amd:
        return KernelMemory(workspaces=own)
    of_cublas = _kept("cublas", cublas_workspace_bytes(platform))
    unified = platform.flag(UNIFIED_WORKSPACE)
    if platform.torch_version < (2, 12):
        return KernelMemory(workspaces=of_cublas if unified else of_cublas + own)
    return KernelMemory(workspaces=own if unified is False else of_cublas)


def _kept(library: str, nbytes: int) -> tuple[Workspace, ...]:
    return (Workspace(library=library, nbytes=nbytes),) if nbytes else ()


def _prefers_lt(dtype: str, platform: Platform) -> bool:
    """Whether products that either library has go to cuBLASLt. What the script prefers (`preferred_blas_library`) is not known here."""
    if any(platform.variables.get(name) for name in PREFER_LT):
        return True
    architecture = platform.hardware.gcn_architecture or ""
    return platform.hardware.is_amd and dtype in _LT_DTYPES and architecture.startswith(_HIPBLASLT_PREFERRED)


def _product(operands: Operands, platform: Platform) -> KernelMemory:
    """`gemm` and `bgemm` (CUDABlas.cpp); nothing runs for an empty result or over nothing."""
    factors = operands.tensors[-2:]
    if len(factors) < 2 or any(tensor.numel == 0 for tensor in factors):
        return NOTHING
    workspaces = _cublaslt(platform) if _prefers_lt(factors[-1].dtype, platform) else _cublas(platform)
    return _with_copies(workspaces, factors)


def _with_copies(memory: KernelMemory, factors: tuple[TensorOperand, ...]) -> KernelMemory:
    copied = tuple(factor.numel * factor.element_bytes for factor in factors if _is_copied(factor))
    return KernelMemory(temporary_bytes=(*copied, *memory.temporary_bytes), workspaces=memory.workspaces) if copied else memory


def _is_copied(factor: TensorOperand) -> bool:
    """Whether no side of the matrices is contiguous, or rows overlap: an expanded gradient (`prepare_matrix_for_cublas`)."""
    if factor.strides is None or len(factor.sizes) < 2:
        return False
    if len(factor.sizes) == 2 and is_dense(factor):
        return False
    rows, columns = factor.sizes[-2:]
    row, column = factor.strides[-2:]
    return not ((row == 1 and column >= max(1, rows)) or (column == 1 and row >= max(1, columns)))


def _vector_product(operands: Operands, platform: Platform) -> KernelMemory:
    """`gemv` and `dot`: cuBLAS has them, cuBLASLt has not."""
    return NOTHING if any(tensor.numel == 0 for tensor in operands.tensors) else _cublas(platform)


def _with_bias(operands: Operands, platform: Platform) -> KernelMemory:
    """addmm: one bias for all rows is added by cuBLASLt (`isInputCompliesAddmmCudaLt`)."""
    bias, *factors = operands.tensors
    if not platform.variables.get(DISABLE_ADDMM_LT) and _is_fused(bias, factors, platform):
        return _with_copies(_cublaslt(platform), tuple(factors))
    return _product(operands, platform)


def _is_fused(bias: TensorOperand, factors: list[TensorOperand], platform: Platform) -> bool:
    dtypes = _LT_DTYPES if platform.hardware.is_amd else (*_LT_DTYPES, "float64")
    one_row = bias.strides is None and bias.numel == bias.sizes[-1] if bias.sizes else False
    return (
        one_row
        and bias.numel == factors[1].sizes[1]
        and factors[0].dtype in dtypes
        and all(size > 1 for size in (*factors[0].sizes, *factors[1].sizes))
    )


def _scaled(operands: Operands, platform: Platform) -> KernelMemory:
    """`scaled_gemm` (CUDABlas.cpp). Rows scaled one by one may take CUTLASS instead, which needs next to nothing."""
    return NOTHING if any(tensor.numel == 0 for tensor in operands.tensors[:2]) else _cublaslt(platform)


def _integer(operands: Operands, platform: Platform) -> KernelMemory:
    """`int8_gemm` gives cuBLASLt no workspace; before 2.12 its handle brings that of cuBLAS along."""
    return _cublas(platform) if platform.torch_version < (2, 12) and not platform.hardware.is_amd else NOTHING


def _grouped(operands: Operands, platform: Platform) -> KernelMemory:
    """`bf16bf16_grouped_mm` (GroupMM.cu): sizes, strides and addresses of each group, and a workspace of CUTLASS."""
    return _grouped_requests(operands, platform, group_bytes=60, workspace_bytes=512)


def _scaled_grouped(operands: Operands, platform: Platform) -> KernelMemory:
    """`f8f8bf16_grouped_mm` (ScaledGroupMM.cu): the same, with the addresses of scales."""
    return _grouped_requests(operands, platform, group_bytes=76, workspace_bytes=640)


def _grouped_requests(operands: Operands, platform: Platform, *, group_bytes: int, workspace_bytes: int) -> KernelMemory:
    """Bytes by group and by multiprocessor as they were measured on an H200 (torch 2.11)."""
    first, second, *others = operands.tensors
    if platform.hardware.is_amd or first.numel * second.numel == 0:
        return NOTHING
    offsets = next((tensor for tensor in others if tensor.dtype == "int32"), None)
    groups = first.sizes[0] if offsets is None else offsets.numel
    return temporaries(groups * group_bytes, platform.hardware.multiprocessors * workspace_bytes)


RULES: Mapping[str, Callable[[Operands, Platform], KernelMemory]] = {
    **dict.fromkeys(("mm", "bmm", "baddbmm", "addbmm"), _product),
    **dict.fromkeys(("mv", "addmv", "dot", "vdot"), _vector_product),
    **dict.fromkeys(("addmm", "_addmm_activation"), _with_bias),
    **dict.fromkeys(("_scaled_mm", "_scaled_mm_v2"), _scaled),
    "_int_mm": _integer,
    "_grouped_mm": _grouped,
    "_scaled_grouped_mm": _scaled_grouped,
}
