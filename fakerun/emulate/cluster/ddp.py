"""What DistributedDataParallel does in C++ with its process group besides communicating, and what its hooks do there.

Its check that all ranks have the same model issues the same collectives, without comparing values. Its log is not written: where the
backend is gloo, C++ takes it for a ProcessGroupGloo and asks for its number of threads (torch/csrc/distributed/c10d/logger.cpp).
The hooks of C++ are replaced by those of Python that do the same, whose futures are seen.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from fakerun.emulate.cluster.futures import CallFutures
from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.torch_private import LOG_CONSTRUCTION, REGISTER_BUILTIN_HOOK, RUN_ALL_REDUCE_HOOK, VERIFY_PARAMETERS


@contextmanager
def simulated_ddp(context: EmulationContext) -> Iterator[None]:
    """Replace the parameter check of DDP's constructor, keep it from writing its log, and see what its hooks of C++ wait for."""
    original: Any = getattr(*VERIFY_PARAMETERS)
    original_hook: Any = getattr(*RUN_ALL_REDUCE_HOOK)
    futures = context.part(CallFutures)

    def verify(group: Any, tensors: Sequence[torch.Tensor], logger: Any = None) -> None:
        if not isinstance(group, dist.ProcessGroup):  # as new_group returns it to a rank that is not in the group
            original(group, [], logger)
        _exchange_shapes(group, tensors)

    def run_all_reduce_hook(reducer: Any, bucket: Any) -> Any:
        with futures.kept() as made:
            original_hook(reducer, bucket)  # it returns the C++ half of the future that its call has
        return made[-1]

    with Patches() as patches:
        patches.set(*VERIFY_PARAMETERS, verify)
        patches.set(*LOG_CONSTRUCTION, lambda logger, *args: None)
        patches.set(*RUN_ALL_REDUCE_HOOK, run_all_reduce_hook)
        patches.set(*REGISTER_BUILTIN_HOOK, _register_builtin_hook)
        yield


def _register_builtin_hook(ddp: DistributedDataParallel, kind: Any) -> None:
    """`default_comm_hooks.cpp` of torch/csrc/distributed/c10d (2.13) does what the hooks of Python do."""
    kinds: Any = dist.BuiltinCommHookType  # type: ignore[attr-defined]
    hooks = {kinds.ALLREDUCE: default_hooks.allreduce_hook, kinds.FP16_COMPRESS: default_hooks.fp16_compress_hook}
    ddp.register_comm_hook(ddp.process_group, hooks[kind])


def _exchange_shapes(group: dist.ProcessGroup, tensors: Sequence[torch.Tensor]) -> None:
    """Gather the number of parameters, broadcast all shapes: reducer.cpp of torch/csrc (verify_params_across_processes)."""
    device = tensors[0].device
    count = torch.tensor([len(tensors)], device=device)
    dist.all_gather([torch.empty_like(count) for _ in range(group.size())], count, group=group)
    dimensions = sum(2 * tensor.dim() for tensor in tensors)
    metadata = torch.empty(dimensions, dtype=torch.int64, device=device)
    dist.broadcast(metadata, group=group, group_src=0)
