"""Calls that the process group of a real backend rejects before it sends anything, rejected with its messages.

Sources: torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp, ProcessGroup.hpp and Utils.hpp, 2.11 to 2.15.

Where NCCL would write past the end of a tensor instead (it has no check of sizes for lists and all_to_all), the call is rejected with the
message of the closest call that has a check. torch's checks in Python run unchanged.
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist

from fakerun.emulate.cluster.attempted_call import AttemptedCall
from fakerun.emulate.cluster.gloo_checks import check_lists, check_root
from fakerun.emulate.cluster.nccl_checks import check_nccl_call
from fakerun.emulate.cluster.nccl_size_checks import check_splits
from fakerun.errors import as_script_error
from fakerun.records.collective import CollectiveOp
from fakerun.torch_private import backend_for, device_types_of, fake_group_options

_options_of: WeakKeyDictionary[dist.ProcessGroup, dict[Any, Any]] = WeakKeyDictionary()
"""The options of a group's fake backends by device type. Reading them from a backend makes a Python object each time, which costs more than
the rest of a check; their values may still be changed."""


def check_call(call: AttemptedCall) -> None:
    """Raise what the group's backend raises for this call.

    Raises:
        RuntimeError, ValueError, TypeError, NotImplementedError: as the process group does, labelled as the script's own.
    """
    backend = backend_of(call.group, call.tensors)
    if backend == "nccl":
        check_nccl_call(call)
    elif backend in ("gloo", "fake"):
        check_root(call)
        check_lists(call, backend)
        if call.op is CollectiveOp.ALL_TO_ALL_SINGLE:
            check_splits(call)


def check_group(group: dist.ProcessGroup, op: CollectiveOp) -> None:
    """Raise what torch's fake backend raises for every collective, where the script asked it to (`Options.error_on_collective`).

    Raises:
        RuntimeError: as torch does, labelled as the script's own.
    """
    if op not in (CollectiveOp.SEND, CollectiveOp.RECV) and any(_refuses(group, each) for each in device_types_of(group)):
        raise as_script_error(RuntimeError("FakeProcessGroup collective operation error (error_on_collective=true)"))


def _refuses(group: dist.ProcessGroup, device: Any) -> bool:
    known = _options_of.setdefault(group, {})
    options = known.get(device)
    if options is None:
        options = known[device] = fake_group_options(backend_for(group, device))
    return bool(getattr(options, "error_on_collective", False))


def check_device(group: dist.ProcessGroup, tensors: Sequence[torch.Tensor]) -> None:
    """Raise what c10d raises for tensors on a device that the group has no backend for."""
    backed = {device.type for device in device_types_of(group)}
    for tensor in tensors:
        if tensor.device.type not in backed:
            raise as_script_error(RuntimeError(f"No backend type associated with device type {tensor.device.type}"))


def check_coalescing(group: dist.ProcessGroup, device: torch.device) -> None:
    """Raise what gloo raises if several of its calls are coalesced."""
    if _backend_on(group, device.type) == "gloo":
        raise as_script_error(RuntimeError("Backend gloo does not implement startCoalescing"))


def backend_of(group: dist.ProcessGroup, tensors: Sequence[torch.Tensor]) -> str:
    """The backend that the script asked for, for the device of these tensors; empty if torch does not know the group."""
    return _backend_on(group, tensors[0].device.type if tensors else "cuda")


def _backend_on(group: dist.ProcessGroup, device: str) -> str:
    try:
        config = dist.get_backend_config(group)
    except (TypeError, ValueError):
        return ""
    return dict(part.split(":", 1) for part in str(config).split(",") if ":" in part).get(device, "")
