"""What DistributedDataParallel does in C++ with its process group besides communicating.

Its check that all ranks have the same model issues the same collectives, without comparing values. Its log is not written: where the
backend is gloo, C++ takes it for a ProcessGroupGloo and asks for its number of threads (torch/csrc/distributed/c10d/logger.cpp).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import LOG_CONSTRUCTION, VERIFY_PARAMETERS


@contextmanager
def simulated_ddp(_: EmulationContext) -> Iterator[None]:
    """Replace the parameter check of DDP's constructor, and keep it from writing its log."""
    original: Any = getattr(*VERIFY_PARAMETERS)

    def verify(group: Any, tensors: Sequence[torch.Tensor], logger: Any = None) -> None:
        if not isinstance(group, dist.ProcessGroup):  # as new_group returns it to a rank that is not in the group
            original(group, [], logger)
        _exchange_shapes(group, tensors)

    with Patches() as patches:
        patches.set(*VERIFY_PARAMETERS, verify)
        patches.set(*LOG_CONSTRUCTION, lambda logger, *args: None)
        yield


def _exchange_shapes(group: dist.ProcessGroup, tensors: Sequence[torch.Tensor]) -> None:
    """Gather the number of parameters, broadcast all shapes: reducer.cpp of torch/csrc (verify_params_across_processes)."""
    device = tensors[0].device
    count = torch.tensor([len(tensors)], device=device)
    dist.all_gather([torch.empty_like(count) for _ in range(group.size())], count, group=group)
    dimensions = sum(2 * tensor.dim() for tensor in tensors)
    metadata = torch.empty(dimensions, dtype=torch.int64, device=device)
    dist.broadcast(metadata, group=group, group_src=0)
