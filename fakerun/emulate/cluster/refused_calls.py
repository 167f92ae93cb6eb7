"""Calls that the process group of a real backend refuses before it sends anything, refused in its words.

Sources: torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp, ProcessGroup.hpp and Utils.hpp, 2.11 to 2.15.

Where NCCL would write past the end of a tensor instead (it has no check of sizes for lists and all_to_all), the call is refused with the
words of the nearest call that has one. What torch checks in Python it checks here too: its code runs unchanged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from fakerun.emulate.cluster.refused_lists import refuse_lists
from fakerun.emulate.torch_private import fake_group_refuses
from fakerun.errors import scripts_own
from fakerun.records.collective import CollectiveOp

_REDUCING = frozenset({CollectiveOp.ALL_REDUCE, CollectiveOp.REDUCE, CollectiveOp.REDUCE_SCATTER, CollectiveOp.REDUCE_SCATTER_TENSOR})
_ONE_BY_ONE = frozenset({CollectiveOp.GATHER, CollectiveOp.SCATTER})
_ANY_LAYOUT = frozenset({CollectiveOp.SEND, CollectiveOp.RECV, CollectiveOp.ALL_TO_ALL, CollectiveOp.ALL_TO_ALL_SINGLE})
_NOT_OF_NCCL = {torch.int16: "Short", torch.uint16: "UInt16", torch.uint32: "UInt32", torch.uint64: "UInt64"}
_FACTOR_DTYPES = (torch.half, torch.float, torch.bfloat16, torch.double)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A communication call before it is made. `root` and `peer` are ranks in the group; no peer is -1."""

    op: CollectiveOp
    group: dist.ProcessGroup
    inputs: Sequence[torch.Tensor]
    outputs: Sequence[torch.Tensor]
    reduce_op: str | None
    root: int | None
    peer: int | None
    input_splits: tuple[int, ...] | None
    output_splits: tuple[int, ...] | None

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return (*self.inputs, *self.outputs)


def refuse(call: Call) -> None:
    """Raise what the group's backend raises for this call.

    Raises:
        RuntimeError, ValueError, TypeError, NotImplementedError: as the process group does, labelled as the script's own.
    """
    backend = backend_of(call.group, call.tensors)
    if backend == "nccl":
        for check in (_devices, _layout, _dtypes, _reduction, _sizes, _any_source, _ranks):
            check(call)
    elif backend in ("gloo", "fake"):
        _ranks_of_gloo(call)
        refuse_lists(call, backend)
        if call.op is CollectiveOp.ALL_TO_ALL_SINGLE:
            _exchanged_parts(call, call.group.size())


def refuse_any(group: dist.ProcessGroup, op: CollectiveOp) -> None:
    """Raise what torch's fake backend raises for every collective, where the script asked it to (`Options.error_on_collective`).

    Raises:
        RuntimeError: as torch does, labelled as the script's own.
    """
    if op not in (CollectiveOp.SEND, CollectiveOp.RECV) and any(
        fake_group_refuses(group._get_backend(each)) for each in group._device_types
    ):
        raise scripts_own(RuntimeError("FakeProcessGroup collective operation error (error_on_collective=true)"))


def refuse_device(group: dist.ProcessGroup, tensors: Sequence[torch.Tensor]) -> None:
    """Raise what c10d raises for tensors on a device that the group has no backend for."""
    backed = {device.type for device in group._device_types}
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


def _refused(condition: bool, kind: type[Exception], message: str) -> None:
    if condition:
        raise scripts_own(kind(message))


def _devices(call: Call) -> None:
    if call.op is CollectiveOp.ALL_TO_ALL:
        _refused(len({tensor.device for tensor in call.tensors}) > 1, RuntimeError, "Tensors must be on the same device")
    elif call.op in (CollectiveOp.ALL_REDUCE, CollectiveOp.ALL_GATHER_INTO_TENSOR, CollectiveOp.REDUCE_SCATTER_TENSOR):
        devices = {tensor.device for tensor in call.tensors}
        _refused(len(devices) > 1, ValueError, "Expected list of tensors on the same device")


def _layout(call: Call) -> None:
    if call.op in _ANY_LAYOUT or call.op in _ONE_BY_ONE or call.op is CollectiveOp.REDUCE_SCATTER_TENSOR:
        return
    if call.op is CollectiveOp.ALL_REDUCE and len(call.inputs) > 1:
        dense = all(map(_is_dense, call.inputs))
        _refused(not dense, ValueError, "Tensors must be non-overlapping and dense")
        return
    checked = {CollectiveOp.ALL_GATHER: call.inputs, CollectiveOp.REDUCE_SCATTER: call.outputs}.get(call.op, call.tensors)
    _refused(not all(map(_is_contiguous, checked)), ValueError, "Tensors must be contiguous")


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
        _refused(unsupported is not None, TypeError, f"Input tensor data type is not supported for NCCL process group: {unsupported}")
    several = len({tensor.dtype for tensor in call.tensors}) > 1
    if call.op is CollectiveOp.ALL_REDUCE:
        _refused(several, TypeError, "Tensors must have identical type")
    elif call.op is CollectiveOp.ALL_GATHER_INTO_TENSOR:
        _refused(several, TypeError, "output tensor must have the same type as input tensor")
    elif call.op is CollectiveOp.REDUCE_SCATTER_TENSOR:
        _refused(several, TypeError, "input tensor must be the same type as the output tensor.")


def _reduction(call: Call) -> None:
    if call.op not in _REDUCING or call.reduce_op is None:
        return
    name, dtype = call.reduce_op, call.tensors[0].dtype
    _refused(name in ("band", "bor", "bxor"), ValueError, f"Cannot use ReduceOp.{name.upper()} with NCCL")
    _refused(name == "avg" and dtype is torch.bool, TypeError, "Cannot use ReduceOp.AVG with boolean inputs")
    without_factor = name == "premul_sum" and dtype not in _FACTOR_DTYPES
    _refused(without_factor, TypeError, "PreMulSum Data type must be half, float, bfloat16 or double")


def _sizes(call: Call) -> None:
    check = _SIZES.get(call.op)
    if check is not None:
        check(call, call.group.size())


def _gathered(call: Call, size: int) -> None:
    per_input = len(call.outputs) // len(call.inputs)
    if call.op is CollectiveOp.ALL_GATHER and per_input == size and len({tensor.shape for tensor in call.outputs}) > 1:
        own = call.outputs[call.group.rank()]  # parts of several sizes are broadcast one by one
        differ = own.numel() != call.inputs[0].numel()
        _refused(differ, ValueError, "Tensor input and output of _broadcast_oop must have the same number of elements ")
        return
    for i, source in enumerate(call.inputs):
        received = sum(tensor.numel() for tensor in call.outputs[i * per_input : (i + 1) * per_input])
        differ = received != source.numel() * size
        _refused(differ, ValueError, "output tensor size must be equal to world_size times input tensor size")


def _scattered(call: Call, size: int) -> None:
    per_output = len(call.inputs) // len(call.outputs)
    if call.op is CollectiveOp.REDUCE_SCATTER and per_output == size and len({tensor.shape for tensor in call.inputs}) > 1:
        own = call.inputs[call.group.rank()]  # parts of several sizes are reduced one by one
        differ = own.numel() != call.outputs[0].numel()
        _refused(differ, ValueError, "Tensor input and output of _reduce_oop must have the same number of elements ")
        return
    for i, output in enumerate(call.outputs):
        sent = sum(tensor.numel() for tensor in call.inputs[i * per_output : (i + 1) * per_output])
        differ = sent != output.numel() * size
        _refused(differ, ValueError, "input tensor must be the same size as output size times world size")


def _to_or_from_root(call: Call, size: int) -> None:
    if call.group.rank() != call.root:
        return
    name, listed, one, kind = "gather", call.outputs, call.inputs, "output"
    if call.op is CollectiveOp.SCATTER:
        name, listed, one, kind = "scatter", call.inputs, call.outputs, "input"
    message = f"ProcessGroupNCCL::{name}: Incorrect {kind} list size {len(listed)}. {kind.capitalize()} list size should be {size}"
    _refused(len(listed) != size, ValueError, f"{message}, same as size of the process group.")
    for i, tensor in enumerate(listed):
        message = f"ProcessGroupNCCL::{name}: invalid tensor size at index {i} (expected {_show(one[0])}, got {_show(tensor)})"
        _refused(tensor.shape != one[0].shape, ValueError, message)


def _show(tensor: torch.Tensor) -> str:
    """As C++ prints sizes."""
    return f"[{', '.join(map(str, tensor.shape))}]"


def _exchanged(call: Call, size: int) -> None:
    for tensors in (call.outputs, call.inputs):
        _refused(len(tensors) != size, dist.DistBackendError, _invalid_argument(f"AlltoAll : {len(tensors)} tensors for {size} ranks"))


def _exchanged_parts(call: Call, size: int) -> None:
    splits = ((call.input_splits, call.inputs[0]), (call.output_splits, call.outputs[0]))
    for sizes, tensor in splits:
        rows = tensor.shape[0] if tensor.dim() else 1
        if not sizes:
            _refused(rows % size != 0, RuntimeError, "Tensor's dim 0 does not divide equally across group size")
            continue
        _refused(len(sizes) != size, RuntimeError, "Number of tensor splits not equal to group size")
        _refused(sum(sizes) != rows, RuntimeError, "Split sizes doesn't match total dim 0 size")
    if call.input_splits is None and call.output_splits is None:
        differ = call.inputs[0].numel() != call.outputs[0].numel()
        _refused(differ, RuntimeError, "Input and output tensors must have same size for all_to_all_single")


_SIZES: dict[CollectiveOp, Callable[[Call, int], None]] = {
    CollectiveOp.ALL_GATHER: _gathered,
    CollectiveOp.ALL_GATHER_INTO_TENSOR: _gathered,
    CollectiveOp.REDUCE_SCATTER: _scattered,
    CollectiveOp.REDUCE_SCATTER_TENSOR: _scattered,
    CollectiveOp.ALL_TO_ALL: _exchanged,
    CollectiveOp.ALL_TO_ALL_SINGLE: _exchanged_parts,
    CollectiveOp.GATHER: _to_or_from_root,
    CollectiveOp.SCATTER: _to_or_from_root,
}


def _any_source(call: Call) -> None:
    anybody = call.op is CollectiveOp.RECV and (call.peer is None or call.peer < 0)
    _refused(anybody, NotImplementedError, "ProcessGroupNCCL does not support recvAnysource")


_ROOTED = {CollectiveOp.BROADCAST: "Broadcast", CollectiveOp.REDUCE: "Reduce", CollectiveOp.SEND: "Send", CollectiveOp.RECV: "Recv"}
"""What NCCL calls the operations whose root, or peer, it checks itself."""


def _ranks(call: Call) -> None:
    rank, size = call.root if call.root is not None else call.peer, call.group.size()
    if rank is None or 0 <= rank < size:
        return
    if call.op in _ROOTED:
        message = _invalid_argument(f"{_ROOTED[call.op]} : invalid root {rank} (root should be in the 0..{size} range)")
        raise scripts_own(dist.DistBackendError(message))
    raise scripts_own(ValueError(f"ProcessGroupNCCL::{call.op.value}: invalid root rank: {rank}"))


def _invalid_argument(detail: str) -> str:
    """How torch tells of an error that NCCL found in its arguments; the place in torch's sources and NCCL's version are left out."""
    return (
        "NCCL error in: ProcessGroupNCCL.cpp, invalid argument (run with NCCL_DEBUG=WARN for details)\n"
        f"ncclInvalidArgument: Invalid value for an argument.\nLast error:\n{detail}"
    )


def _ranks_of_gloo(call: Call) -> None:
    if call.root is not None and not 0 <= call.root < call.group.size():
        raise scripts_own(ValueError(f"ProcessGroupGloo::{call.op.value}: invalid root rank: {call.root}"))
