"""Calls that the process group of a real backend refuses before it sends anything, refused in its words.

Sources: torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp, ProcessGroup.hpp and Utils.hpp, 2.11 to 2.15.

Where NCCL would write past the end of a tensor instead (it has no check of sizes for lists and all_to_all), the call is refused with the
words of the nearest call that has one. What torch checks in Python it checks here too: its code runs unchanged.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist

from fakerun.emulate.cluster.attempted_call import Call, invalid_argument, refused_if
from fakerun.emulate.cluster.gloo_checks import refuse_lists
from fakerun.emulate.cluster.nccl_size_checks import refuse_sizes, refuse_splits
from fakerun.errors import scripts_own
from fakerun.records.collective import CollectiveOp
from fakerun.torch_private import backend_for, device_types_of, fake_group_refuses

_REDUCING = frozenset({CollectiveOp.ALL_REDUCE, CollectiveOp.REDUCE, CollectiveOp.REDUCE_SCATTER, CollectiveOp.REDUCE_SCATTER_TENSOR})
_ONE_BY_ONE = frozenset({CollectiveOp.GATHER, CollectiveOp.SCATTER})
_ANY_LAYOUT = frozenset({CollectiveOp.SEND, CollectiveOp.RECV, CollectiveOp.ALL_TO_ALL, CollectiveOp.ALL_TO_ALL_SINGLE})
_NOT_OF_NCCL = {torch.int16: "Short", torch.uint16: "UInt16", torch.uint32: "UInt32", torch.uint64: "UInt64"}
_FACTOR_DTYPES = (torch.half, torch.float, torch.bfloat16, torch.double)


def refuse(call: Call) -> None:
    """Raise what the group's backend raises for this call.

    Raises:
        RuntimeError, ValueError, TypeError, NotImplementedError: as the process group does, labelled as the script's own.
    """
    backend = backend_of(call.group, call.tensors)
    if backend == "nccl":
        for check in (_devices, _layout, _dtypes, _reduction, refuse_sizes, _any_source, _ranks):
            check(call)
    elif backend in ("gloo", "fake"):
        _ranks_of_gloo(call)
        refuse_lists(call, backend)
        if call.op is CollectiveOp.ALL_TO_ALL_SINGLE:
            refuse_splits(call)


def refuse_any(group: dist.ProcessGroup, op: CollectiveOp) -> None:
    """Raise what torch's fake backend raises for every collective, where the script asked it to (`Options.error_on_collective`).

    Raises:
        RuntimeError: as torch does, labelled as the script's own.
    """
    if op not in (CollectiveOp.SEND, CollectiveOp.RECV) and any(
        fake_group_refuses(backend_for(group, each)) for each in device_types_of(group)
    ):
        raise scripts_own(RuntimeError("FakeProcessGroup collective operation error (error_on_collective=true)"))


def refuse_device(group: dist.ProcessGroup, tensors: Sequence[torch.Tensor]) -> None:
    """Raise what c10d raises for tensors on a device that the group has no backend for."""
    backed = {device.type for device in device_types_of(group)}
    for tensor in tensors:
        if tensor.device.type not in backed:
            raise scripts_own(RuntimeError(f"No backend type associated with device type {tensor.device.type}"))


def refuse_coalescing(group: dist.ProcessGroup, device: torch.device) -> None:
    """Raise what gloo raises where several of its calls shall be sent as one."""
    if _backend_on(group, device.type) == "gloo":
        raise scripts_own(RuntimeError("Backend gloo does not implement startCoalescing"))


def backend_of(group: dist.ProcessGroup, tensors: Sequence[torch.Tensor]) -> str:
    """The backend that the script asked for, for the device of these tensors; empty if torch does not know the group."""
    return _backend_on(group, tensors[0].device.type if tensors else "cuda")


def _backend_on(group: dist.ProcessGroup, device: str) -> str:
    try:
        config = dist.get_backend_config(group)
    except (TypeError, ValueError):
        return ""
    return dict(part.split(":", 1) for part in str(config).split(",") if ":" in part).get(device, "")


def _devices(call: Call) -> None:
    if call.op is CollectiveOp.ALL_TO_ALL:
        refused_if(len({tensor.device for tensor in call.tensors}) > 1, RuntimeError, "Tensors must be on the same device")
    elif call.op in (CollectiveOp.ALL_REDUCE, CollectiveOp.ALL_GATHER_INTO_TENSOR, CollectiveOp.REDUCE_SCATTER_TENSOR):
        devices = {tensor.device for tensor in call.tensors}
        refused_if(len(devices) > 1, ValueError, "Expected list of tensors on the same device")


def _layout(call: Call) -> None:
    if call.op in _ANY_LAYOUT or call.op in _ONE_BY_ONE or call.op is CollectiveOp.REDUCE_SCATTER_TENSOR:
        return
    if call.op is CollectiveOp.ALL_REDUCE and len(call.inputs) > 1:
        dense = all(map(_is_dense, call.inputs))
        refused_if(not dense, ValueError, "Tensors must be non-overlapping and dense")
        return
    checked = {CollectiveOp.ALL_GATHER: call.inputs, CollectiveOp.REDUCE_SCATTER: call.outputs}.get(call.op, call.tensors)
    refused_if(not all(map(_is_contiguous, checked)), ValueError, "Tensors must be contiguous")


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


def _dtypes(call: Call) -> None:
    for tensor in call.tensors:
        unsupported = _NOT_OF_NCCL.get(tensor.dtype)
        refused_if(unsupported is not None, TypeError, f"Input tensor data type is not supported for NCCL process group: {unsupported}")
    several = len({tensor.dtype for tensor in call.tensors}) > 1
    if call.op is CollectiveOp.ALL_REDUCE:
        refused_if(several, TypeError, "Tensors must have identical type")
    elif call.op is CollectiveOp.ALL_GATHER_INTO_TENSOR:
        refused_if(several, TypeError, "output tensor must have the same type as input tensor")
    elif call.op is CollectiveOp.REDUCE_SCATTER_TENSOR:
        refused_if(several, TypeError, "input tensor must be the same type as the output tensor.")


def _reduction(call: Call) -> None:
    if call.op not in _REDUCING or call.reduce_op is None:
        return
    name, dtype = call.reduce_op, call.tensors[0].dtype
    refused_if(name in ("band", "bor", "bxor"), ValueError, f"Cannot use ReduceOp.{name.upper()} with NCCL")
    refused_if(name == "avg" and dtype is torch.bool, TypeError, "Cannot use ReduceOp.AVG with boolean inputs")
    without_factor = name == "premul_sum" and dtype not in _FACTOR_DTYPES
    refused_if(without_factor, TypeError, "PreMulSum Data type must be half, float, bfloat16 or double")


def _any_source(call: Call) -> None:
    anybody = call.op is CollectiveOp.RECV and (call.peer is None or call.peer < 0)
    refused_if(anybody, NotImplementedError, "ProcessGroupNCCL does not support recvAnysource")


_ROOTED = {CollectiveOp.BROADCAST: "Broadcast", CollectiveOp.REDUCE: "Reduce", CollectiveOp.SEND: "Send", CollectiveOp.RECV: "Recv"}
"""What NCCL calls the operations whose root, or peer, it checks itself."""


def _ranks(call: Call) -> None:
    rank, size = call.root if call.root is not None else call.peer, call.group.size()
    if rank is None or 0 <= rank < size:
        return
    if call.op in _ROOTED:
        message = invalid_argument(f"{_ROOTED[call.op]} : invalid root {rank} (root should be in the 0..{size} range)")
        raise scripts_own(dist.DistBackendError(message))
    raise scripts_own(ValueError(f"ProcessGroupNCCL::{call.op.value}: invalid root rank: {rank}"))


def _ranks_of_gloo(call: Call) -> None:
    if call.root is not None and not 0 <= call.root < call.group.size():
        raise scripts_own(ValueError(f"ProcessGroupGloo::{call.op.value}: invalid root rank: {call.root}"))
