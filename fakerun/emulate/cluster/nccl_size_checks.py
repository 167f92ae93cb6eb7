"""Sizes that NCCL's process group rejects: of lists, of gathered and scattered tensors, of the parts of an all-to-all.

Source: torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp and Utils.hpp, 2.11 to 2.15.
"""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist

from fakerun.emulate.cluster.attempted_call import AttemptedCall, invalid_argument, raise_if
from fakerun.records.collective import CollectiveOp


def check_sizes(call: AttemptedCall) -> None:
    """Raise what NCCL's process group raises for these sizes.

    Raises:
        RuntimeError, ValueError: as the process group does, labelled as the script's own.
    """
    check = _SIZES.get(call.op)
    if check is not None:
        check(call)


def check_splits(call: AttemptedCall) -> None:
    """Raise what either backend raises for the splits of an `all_to_all_single`.

    Raises:
        RuntimeError: as the process group does, labelled as the script's own.
    """
    splits = ((call.input_splits, call.inputs[0]), (call.output_splits, call.outputs[0]))
    for sizes, tensor in splits:
        rows = tensor.shape[0] if tensor.dim() else 1
        if not sizes:
            raise_if(rows % call.group.size() != 0, RuntimeError, "Tensor's dim 0 does not divide equally across group size")
            continue
        raise_if(len(sizes) != call.group.size(), RuntimeError, "Number of tensor splits not equal to group size")
        raise_if(sum(sizes) != rows, RuntimeError, "Split sizes doesn't match total dim 0 size")
    if call.input_splits is None and call.output_splits is None:
        differ = call.inputs[0].numel() != call.outputs[0].numel()
        raise_if(differ, RuntimeError, "Input and output tensors must have same size for all_to_all_single")


def _gathered(call: AttemptedCall) -> None:
    if call.op is CollectiveOp.ALL_GATHER and _checked_one_by_one(call, call.outputs, call.inputs, "_broadcast_oop"):
        return
    _whole_is_of_parts(call, call.outputs, call.inputs, "output tensor size must be equal to world_size times input tensor size")


def _scattered(call: AttemptedCall) -> None:
    if call.op is CollectiveOp.REDUCE_SCATTER and _checked_one_by_one(call, call.inputs, call.outputs, "_reduce_oop"):
        return
    _whole_is_of_parts(call, call.inputs, call.outputs, "input tensor must be the same size as output size times world size")


def _checked_one_by_one(call: AttemptedCall, listed: Sequence[torch.Tensor], own: Sequence[torch.Tensor], step: str) -> bool:
    """Whether the list has several sizes. Such a list is gathered or reduced part by part, and only this rank's part is checked."""
    if len(listed) != len(own) * call.group.size() or len({tensor.shape for tensor in listed}) == 1:
        return False
    differ = listed[call.group.rank()].numel() != own[0].numel()
    raise_if(differ, ValueError, f"Tensor input and output of {step} must have the same number of elements ")
    return True


def _whole_is_of_parts(call: AttemptedCall, listed: Sequence[torch.Tensor], own: Sequence[torch.Tensor], message: str) -> None:
    per_tensor = len(listed) // len(own)
    for i, tensor in enumerate(own):
        whole = sum(part.numel() for part in listed[i * per_tensor : (i + 1) * per_tensor])
        raise_if(whole != tensor.numel() * call.group.size(), ValueError, message)


def _to_or_from_root(call: AttemptedCall) -> None:
    if call.group.rank() != call.root:
        return
    size = call.group.size()
    name, listed, one, kind = "gather", call.outputs, call.inputs, "output"
    if call.op is CollectiveOp.SCATTER:
        name, listed, one, kind = "scatter", call.inputs, call.outputs, "input"
    message = f"ProcessGroupNCCL::{name}: Incorrect {kind} list size {len(listed)}. {kind.capitalize()} list size should be {size}"
    raise_if(len(listed) != size, ValueError, f"{message}, same as size of the process group.")
    for i, tensor in enumerate(listed):
        message = f"ProcessGroupNCCL::{name}: invalid tensor size at index {i} (expected {_show(one[0])}, got {_show(tensor)})"
        raise_if(tensor.shape != one[0].shape, ValueError, message)


def _show(tensor: torch.Tensor) -> str:
    """As C++ prints sizes."""
    return f"[{', '.join(map(str, tensor.shape))}]"


def _exchanged(call: AttemptedCall) -> None:
    size = call.group.size()
    for tensors in (call.outputs, call.inputs):
        raise_if(len(tensors) != size, dist.DistBackendError, invalid_argument(f"AlltoAll : {len(tensors)} tensors for {size} ranks"))


_SIZES: dict[CollectiveOp, Callable[[AttemptedCall], None]] = {
    CollectiveOp.ALL_GATHER: _gathered,
    CollectiveOp.ALL_GATHER_INTO_TENSOR: _gathered,
    CollectiveOp.REDUCE_SCATTER: _scattered,
    CollectiveOp.REDUCE_SCATTER_TENSOR: _scattered,
    CollectiveOp.ALL_TO_ALL: _exchanged,
    CollectiveOp.ALL_TO_ALL_SINGLE: check_splits,
    CollectiveOp.GATHER: _to_or_from_root,
    CollectiveOp.SCATTER: _to_or_from_root,
}
