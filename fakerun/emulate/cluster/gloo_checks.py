"""Lists with too few or too many tensors, which gloo and torch's own fake backend reject with the same messages.

Sources: torch/csrc/distributed/c10d/ProcessGroupGloo.cpp and FakeProcessGroup.hpp, 2.13. The fake backend of 2.11 does not check the
lists; they are rejected there too, as by every real backend.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist

from fakerun.emulate.cluster.attempted_call import AttemptedCall
from fakerun.errors import as_script_error
from fakerun.records.collective import CollectiveOp

_CLASSES = {"gloo": "ProcessGroupGloo", "fake": "FakeProcessGroup"}


def check_lists(call: AttemptedCall, backend: str) -> None:
    """Raise what the backend raises where the call has not one tensor for each rank.

    Raises:
        RuntimeError: as the process group does, labelled as the script's own.
    """
    check = _CHECKS.get(call.op)
    message = check(call, call.group.size(), backend) if check is not None else ""
    if message:
        raise as_script_error(RuntimeError(message))


def check_root(call: AttemptedCall) -> None:
    """Raise what gloo raises for a root that is not in the group."""
    if call.root is not None and not 0 <= call.root < call.group.size():
        raise as_script_error(ValueError(f"ProcessGroupGloo::{call.op.value}: invalid root rank: {call.root}"))


def _gathered(call: AttemptedCall, size: int, backend: str) -> str:
    listed = len(call.outputs)
    if backend != "gloo" or len(call.inputs) != 1 or listed == size:
        return ""
    return f"ProcessGroupGloo::allgather: invalid output tensor list at index 0 (expected length {size}, got {listed})"


def _reduced(call: AttemptedCall, size: int, backend: str) -> str:
    if len(call.outputs) != 1 or len(call.inputs) == size:
        return ""
    prefix = "" if backend == "gloo" else "FakeProcessGroup::reduce_scatter: "
    return f"{prefix}invalid input tensor list size, must be world size"


def _to_or_from_root(call: AttemptedCall, size: int, backend: str) -> str:
    kind, listed = ("output", call.outputs) if call.op is CollectiveOp.GATHER else ("input", call.inputs)
    if call.group.rank() != call.root or len(listed) == size:
        return ""
    wanted = f"{kind.capitalize()} list size should be {size}, same as size of the process group."
    return f"{_CLASSES[backend]}::{call.op}: Incorrect {kind} list size {len(listed)}. {wanted}"


def _exchanged(call: AttemptedCall, size: int, backend: str) -> str:
    for kind, listed in (("input", call.inputs), ("output", call.outputs)):
        if len(listed) != size:
            return f"{_CLASSES[backend]}::alltoall: {kind} tensor list size {len(listed)} does not match world size {size}"
    return ""


_CHECKS: dict[CollectiveOp, Callable[[AttemptedCall, int, str], str]] = {
    CollectiveOp.ALL_GATHER: _gathered,
    CollectiveOp.REDUCE_SCATTER: _reduced,
    CollectiveOp.SCATTER: _to_or_from_root,
    CollectiveOp.GATHER: _to_or_from_root,
    CollectiveOp.ALL_TO_ALL: _exchanged,
}


def check_coalesced_lists(group: dist.ProcessGroup, outputs: Sequence[Sequence[Any]], inputs: Sequence[Any], backend: str) -> None:
    """Raise what the backend raises for lists that all_gather_coalesced cannot take: one for each rank, with a tensor for each input.

    Raises:
        NotImplementedError, RuntimeError: as the process group does, labelled as the script's own.
    """
    if backend == "nccl":
        raise as_script_error(NotImplementedError("ProcessGroupNCCL does not support allgather_coalesced"))
    prefix = f"{_CLASSES.get(backend, 'ProcessGroup')}::allgather_coalesced:"
    if len(outputs) != group.size():
        raise as_script_error(RuntimeError(f"{prefix} output lists should be equal to world size"))
    for of_one_rank in outputs:
        if len(of_one_rank) != len(inputs):
            message = f"{prefix} invalid output size: (expected length {len(inputs)}, got {len(of_one_rank)})"
            raise as_script_error(RuntimeError(message))
