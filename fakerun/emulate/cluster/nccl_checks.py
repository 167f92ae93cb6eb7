"""Calls that NCCL's process group rejects before it sends anything, with its messages.

Sources: torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp and Utils.hpp, 2.11 to 2.15. Its checks of sizes are in `nccl_size_checks`.
"""

import torch
import torch.distributed as dist

from fakerun.emulate.cluster.attempted_call import AttemptedCall, invalid_argument, raise_if
from fakerun.emulate.cluster.nccl_size_checks import check_sizes
from fakerun.errors import as_script_error
from fakerun.records.collective import CollectiveOp

_REDUCING = frozenset({CollectiveOp.ALL_REDUCE, CollectiveOp.REDUCE, CollectiveOp.REDUCE_SCATTER, CollectiveOp.REDUCE_SCATTER_TENSOR})
_ONE_BY_ONE = frozenset({CollectiveOp.GATHER, CollectiveOp.SCATTER})
_ANY_LAYOUT = frozenset({CollectiveOp.SEND, CollectiveOp.RECV, CollectiveOp.ALL_TO_ALL, CollectiveOp.ALL_TO_ALL_SINGLE})
_NOT_OF_NCCL = {torch.int16: "Short", torch.uint16: "UInt16", torch.uint32: "UInt32", torch.uint64: "UInt64"}
_FACTOR_DTYPES = (torch.half, torch.float, torch.bfloat16, torch.double)


def check_nccl_call(call: AttemptedCall) -> None:
    """Raise what NCCL's process group raises for this call.

    Raises:
        RuntimeError, ValueError, TypeError, NotImplementedError: as the process group does, labelled as the script's own.
    """
    for check in (_devices, _layout, _dtypes, _reduction, check_sizes, _any_source, _ranks):
        check(call)


def _devices(call: AttemptedCall) -> None:
    if call.op is CollectiveOp.ALL_TO_ALL:
        raise_if(len({tensor.device for tensor in call.tensors}) > 1, RuntimeError, "Tensors must be on the same device")
    elif call.op in (CollectiveOp.ALL_REDUCE, CollectiveOp.ALL_GATHER_INTO_TENSOR, CollectiveOp.REDUCE_SCATTER_TENSOR):
        devices = {tensor.device for tensor in call.tensors}
        raise_if(len(devices) > 1, ValueError, "Expected list of tensors on the same device")


def _layout(call: AttemptedCall) -> None:
    if call.op in _ANY_LAYOUT or call.op in _ONE_BY_ONE or call.op is CollectiveOp.REDUCE_SCATTER_TENSOR:
        return
    if call.op is CollectiveOp.ALL_REDUCE and len(call.inputs) > 1:
        dense = all(map(_is_dense, call.inputs))
        raise_if(not dense, ValueError, "Tensors must be non-overlapping and dense")
        return
    checked = {CollectiveOp.ALL_GATHER: call.inputs, CollectiveOp.REDUCE_SCATTER: call.outputs}.get(call.op, call.tensors)
    raise_if(not all(map(_is_contiguous, checked)), ValueError, "Tensors must be contiguous")


def _is_contiguous(tensor: torch.Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the tensor fills its memory, in whatever order."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def _dtypes(call: AttemptedCall) -> None:
    for tensor in call.tensors:
        unsupported = _NOT_OF_NCCL.get(tensor.dtype)
        raise_if(unsupported is not None, TypeError, f"Input tensor data type is not supported for NCCL process group: {unsupported}")
    several = len({tensor.dtype for tensor in call.tensors}) > 1
    if call.op is CollectiveOp.ALL_REDUCE:
        raise_if(several, TypeError, "Tensors must have identical type")
    elif call.op is CollectiveOp.ALL_GATHER_INTO_TENSOR:
        raise_if(several, TypeError, "output tensor must have the same type as input tensor")
    elif call.op is CollectiveOp.REDUCE_SCATTER_TENSOR:
        raise_if(several, TypeError, "input tensor must be the same type as the output tensor.")


def _reduction(call: AttemptedCall) -> None:
    if call.op not in _REDUCING or call.reduce_op is None:
        return
    name, dtype = call.reduce_op, call.tensors[0].dtype
    raise_if(name in ("band", "bor", "bxor"), ValueError, f"Cannot use ReduceOp.{name.upper()} with NCCL")
    raise_if(name == "avg" and dtype is torch.bool, TypeError, "Cannot use ReduceOp.AVG with boolean inputs")
    without_factor = name == "premul_sum" and dtype not in _FACTOR_DTYPES
    raise_if(without_factor, TypeError, "PreMulSum Data type must be half, float, bfloat16 or double")


def _any_source(call: AttemptedCall) -> None:
    anybody = call.op is CollectiveOp.RECV and (call.peer is None or call.peer < 0)
    raise_if(anybody, NotImplementedError, "ProcessGroupNCCL does not support recvAnysource")


_ROOTED = {CollectiveOp.BROADCAST: "Broadcast", CollectiveOp.REDUCE: "Reduce", CollectiveOp.SEND: "Send", CollectiveOp.RECV: "Recv"}
"""NCCL's names of the operations whose root or peer it checks itself."""


def _ranks(call: AttemptedCall) -> None:
    rank, size = call.root if call.root is not None else call.peer, call.group.size()
    if rank is None or 0 <= rank < size:
        return
    if call.op in _ROOTED:
        message = invalid_argument(f"{_ROOTED[call.op]} : invalid root {rank} (root should be in the 0..{size} range)")
        raise as_script_error(dist.DistBackendError(message))
    raise as_script_error(ValueError(f"ProcessGroupNCCL::{call.op.value}: invalid root rank: {rank}"))
