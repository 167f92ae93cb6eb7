"""Operators of symmetric memory: they communicate without a process group, so their communication would go unrecorded.

The fused operators of async tensor parallelism run as the operators that they fuse; the others end the run.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.unsupported.gaps import FUSED_COMMUNICATION, SYMMETRIC_OPERATOR
from fakerun.torch_private import UNFUSED

_FUSED = {getattr(torch.ops.symm_mem, name).default: unfused for name, unfused in UNFUSED.items()}
_READS_PEERS = (
    *("get_remote_tensors", "_low_contention_all_gather", "_low_contention_reduce_scatter"),
    *("_low_contention_all_gather_ce_multicast", "_low_contention_all_gather_ce_multicast_out"),
    *("all_to_all_vdev_2d", "all_to_all_vdev_2d_offset", "one_shot_all_reduce", "one_shot_all_reduce_copy", "two_shot_all_reduce_"),
)
"""Operators with shape rules in torch 2.13 or 2.15. The others have none and end the run for that reason."""
_REFUSED = tuple(getattr(torch.ops.symm_mem, name).default for name in _READS_PEERS if hasattr(torch.ops.symm_mem, name))


def symmetric_memory(context: EmulationContext) -> None:
    """Register a handler for each of them."""
    mode = context.mode
    for operator, unfused in _FUSED.items():
        mode.handle(operator, partial(_run_unfused, context, unfused))
    for operator in _REFUSED:
        mode.handle(operator, _reject)


def _run_unfused(context: EmulationContext, unfused: Any, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    FUSED_COMMUNICATION.report(context.findings, f"Overlap in torch.ops.{func}")
    with context.mode:
        return unfused(*args, **kwargs)


def _reject(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    raise SYMMETRIC_OPERATOR.error(f"torch.ops.{func}")
