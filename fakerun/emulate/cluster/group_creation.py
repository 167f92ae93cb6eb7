"""Reports the groups that the script creates. All ranks that take part must create them in the same order, with the same ranks.

torch names groups by counting them, and ranks find each other by that name: a group that one rank skips shifts the names of all later
groups. A DeviceMesh makes its groups by the same functions, under names of its own module.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch.distributed import device_mesh, distributed_c10d

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.observer import TopologyObserver

Ranks = tuple[int, ...]


@contextmanager
def observed_group_creation(context: EmulationContext) -> Iterator[None]:
    """Report every call of `new_group` and `split_group` until the context ends."""
    with Patches() as patches:
        for name, groups in (("new_group", _new_group), ("split_group", _split_group)):
            observed = _observed(getattr(dist, name), groups, context.topology)
            for owner in (dist, distributed_c10d, device_mesh):
                patches.set(owner, name, observed)
        yield


_Groups = Callable[[dict[str, Any]], tuple[list[Ranks], Ranks | None]]
"""By the arguments of a call: the ranks of each group that it makes, and the ranks that must make the call, None for all."""


def _observed(function: Callable[..., Any], groups: _Groups, topology: TopologyObserver) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def call(*args: Any, **kwargs: Any) -> Any:
        made = function(*args, **kwargs)
        ranks, callers = groups(signature.bind(*args, **kwargs).arguments)
        if callers is None or dist.get_rank() in callers:
            topology.groups_created(ranks, callers)
        return made

    return call


def _new_group(call: dict[str, Any]) -> tuple[list[Ranks], Ranks | None]:
    asked: Sequence[int] | None = call.get("ranks")
    if asked is None:
        return [tuple(range(dist.get_world_size()))], None
    ranks = tuple(sorted(asked) if call.get("sort_ranks", True) else asked)
    return [ranks], ranks if call.get("use_local_synchronization", False) else None


def _split_group(call: dict[str, Any]) -> tuple[list[Ranks], Ranks | None]:
    parent = tuple(dist.get_process_group_ranks(call.get("parent_pg")))
    groups = [tuple(parent[place] for place in part) for part in call["split_ranks"]]
    return groups, None if len(parent) == dist.get_world_size() else parent
