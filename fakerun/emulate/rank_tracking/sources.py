"""Where a program asks torch for its rank: torch.distributed and the mesh. Here they answer with followed numbers.

`distributed_c10d` itself asks for its rank in every call, and looks for it in lists of all ranks: it gets plain integers, as fakerun does.
"""

import functools
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d
from torch.distributed.device_mesh import DeviceMesh

from fakerun.call_site import Owner, owner
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.rank_tracking.expressions import Expression
from fakerun.emulate.rank_tracking.tracker import RankTracker
from fakerun.emulate.rank_tracking.values import RankInt, follow
from fakerun.patching import Patches
from fakerun.records.rank_function import RankOperation
from fakerun.torch_private import MESH_COORDINATE, MESH_COORDINATES, root_of_mesh


class RankSources:
    """Makes the followed numbers of one rank."""

    def __init__(self, context: EmulationContext, tracker: RankTracker) -> None:
        self._rank = context.rank
        self._world_size = context.job.world_size
        self._tracker = tracker
        self._in_groups: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def _expression(self, operation: RankOperation) -> Expression:
        return self._tracker.expressions.leaf(operation)

    def known(self, operation: RankOperation, value: Any, frame: FrameType) -> Any:
        """The value as what the operation tells of this rank, if it is that."""
        is_it = type(value) is int and value == self._tracker.values[operation]
        return follow(value, self._expression(operation), self._tracker, frame) if is_it else value

    def found(self, value: Any, key: RankInt, ranks: list[int], operation: RankOperation, frame: FrameType) -> Any:
        """What was found in a list of ranks."""
        if type(value) is not int:
            return value
        return follow(value, self._tracker.expressions.unary(operation, key.expression, tuple(ranks)), self._tracker, frame)

    def is_own(self, rank: RankInt) -> bool:
        """Whether the number is this rank, and not one that follows from it."""
        return rank.expression is self._expression(RankOperation.RANK)

    def in_group(self, group: Any, value: Any, frame: FrameType) -> Any:
        """The position of this rank in a group."""
        if type(value) is not int or value < 0:
            return value
        if group not in self._in_groups:
            ranks = tuple(dist.get_process_group_ranks(group))
            self._in_groups[group] = follow(value, self._position(ranks), self._tracker, frame)
        return self._in_groups[group]

    def is_axis(self, group: Any, place: Any) -> None:
        """The group is one along an axis of a mesh, on which this rank has that coordinate."""
        if type(place) is RankInt and group not in self._in_groups and dist.get_group_rank(group, self._rank) == place.plain:
            self._in_groups[group] = place

    def coordinate(self, mesh: DeviceMesh, known: Any, frame: FrameType) -> Any:
        """The mesh's coordinate of this rank, of the type that it has, kept by the mesh; None stays None, but is a test."""
        if known is None or type(known[0]) is int:
            self._report_membership(root_of_mesh(mesh).mesh, frame)
        if known is not None and any(type(place) is int for place in known):
            layout = mesh.mesh
            known = type(known)(self._on_axis(layout, axis, place, frame) for axis, place in enumerate(known))
            setattr(mesh, MESH_COORDINATES, known)
        return known

    def _position(self, ranks: tuple[int, ...]) -> Expression:
        if ranks == tuple(range(self._world_size)):
            return self._expression(RankOperation.RANK)
        return self._tracker.expressions.leaf(RankOperation.GROUP_RANK, ranks)

    def _on_axis(self, layout: Any, axis: int, place: int, frame: FrameType) -> Any:
        index: list[Any] = (layout == self._rank).nonzero()[0].tolist()
        index[axis] = slice(None)
        ranks = tuple(layout[tuple(index)].tolist())
        return follow(place, self._axis_position(ranks), self._tracker, frame)

    def _axis_position(self, ranks: tuple[int, ...]) -> Expression:
        """The coordinate on an axis on which the rank has these neighbours, itself included."""
        size, expressions = len(ranks), self._tracker.expressions
        stride = ranks[1] - ranks[0] if size > 1 else 1
        regular = stride > 0 and ranks == tuple(range(ranks[0], ranks[0] + size * stride, stride))
        # As in a mesh of all ranks in order: `rank // stride % size`.
        if not regular or ranks[0] % (stride * size) >= stride or self._world_size % (stride * size):
            return expressions.leaf(RankOperation.GROUP_RANK, ranks)
        position = self._expression(RankOperation.RANK)
        if stride > 1:
            position = expressions.binary(RankOperation.FLOORDIV, position, expressions.constant(stride))
        if size * stride < self._world_size:
            position = expressions.binary(RankOperation.MOD, position, expressions.constant(size))
        return position

    def _report_membership(self, layout: Any, frame: FrameType) -> None:
        """Ranks that are not in the mesh have no coordinate."""
        ranks = tuple(layout.flatten().tolist())
        if len(ranks) == self._world_size:
            return
        expression = self._tracker.expressions.unary(RankOperation.IN, self._expression(RankOperation.RANK), ranks)
        self._tracker.tested(expression, int(self._rank in ranks), frame)


@contextmanager
def followed_sources(context: EmulationContext, tracker: RankTracker) -> Iterator[None]:
    """Answer with followed numbers wherever the program may ask torch for its rank."""
    sources = RankSources(context, tracker)
    with Patches() as patches:
        _follow_functions(patches, sources)
        _follow_lookups(patches, sources)
        _follow_meshes(patches, sources)
        _follow_current_device(patches, sources)
        yield


def _follow_functions(patches: Patches, sources: RankSources) -> None:
    """`get_rank` and what else answers with a rank of this process."""
    get_rank, get_node_local_rank, group_rank = dist.get_rank, dist.get_node_local_rank, dist.ProcessGroup.rank

    def followed_get_rank(group: Any = None) -> Any:
        frame = sys._getframe(1)
        value = get_rank(group)
        if _is_plumbing(frame) or value < 0:
            return value
        if group is None or group is dist.GroupMember.WORLD:
            return sources.known(RankOperation.RANK, value, frame)
        return sources.in_group(group, value, frame)

    def followed_get_node_local_rank(fallback_rank: int | None = None) -> Any:
        return sources.known(RankOperation.LOCAL_RANK, get_node_local_rank(fallback_rank), sys._getframe(1))

    def followed_group_rank(group: Any) -> Any:
        frame, value = sys._getframe(1), group_rank(group)
        return value if _is_plumbing(frame) else sources.in_group(group, value, frame)

    for module in (dist, distributed_c10d):
        patches.set(module, "get_rank", followed_get_rank)
        patches.set(module, "get_node_local_rank", followed_get_node_local_rank)
    patches.set(dist.ProcessGroup, "rank", followed_group_rank)


def _follow_lookups(patches: Patches, sources: RankSources) -> None:
    """`get_group_rank` and `get_global_rank`, of a rank that is followed."""
    for name, operation in (("get_group_rank", RankOperation.ITEM), ("get_global_rank", RankOperation.LOOKUP)):
        following = _following_lookup(getattr(dist, name), operation, sources)
        for module in (dist, distributed_c10d):
            patches.set(module, name, following)


def _following_lookup(original: Any, operation: RankOperation, sources: RankSources) -> Any:
    signature = inspect.signature(original)

    @functools.wraps(original)
    def following(*args: Any, **more: Any) -> Any:
        frame = sys._getframe(1)
        group, rank = signature.bind(*args, **more).args
        value = original(group, getattr(rank, "plain", rank))  # torch looks it up in a dictionary: a test that singles out this rank
        if _is_plumbing(frame) or type(rank) is not RankInt:
            return value
        if operation is RankOperation.ITEM and sources.is_own(rank):
            return sources.in_group(group, value, frame)
        return sources.found(value, rank, dist.get_process_group_ranks(group), operation, frame)

    return following


def _is_plumbing(frame: FrameType) -> bool:
    """Whether the code that runs communicates for the program: its own rank decides nothing that is not recorded."""
    name: str = frame.f_globals.get("__name__", "")
    return name == distributed_c10d.__name__ or name.startswith("fakerun.")


def _follow_meshes(patches: Patches, sources: RankSources) -> None:
    get_coordinate, get_local_rank, get_rank = DeviceMesh.get_coordinate, DeviceMesh.get_local_rank, DeviceMesh.get_rank
    get_group = DeviceMesh.get_group
    private_coordinate = getattr(DeviceMesh, MESH_COORDINATE)

    def followed_get_coordinate(mesh: DeviceMesh) -> Any:
        known = get_coordinate(mesh)
        if known and type(known[0]) is RankInt:  # DTensor asks in every operator
            return known
        return sources.coordinate(mesh, known, sys._getframe(1))

    def followed_private_coordinate(mesh: DeviceMesh, index: int) -> Any:
        sources.coordinate(mesh, get_coordinate(mesh), sys._getframe(1))
        return private_coordinate(mesh, index)

    def followed_get_local_rank(mesh: DeviceMesh, mesh_dim: Any = None) -> Any:
        followed = sources.coordinate(mesh, get_coordinate(mesh), sys._getframe(1))
        value, axis = get_local_rank(mesh, mesh_dim), _axis(mesh, mesh_dim)
        return value if followed is None or axis is None or followed[axis].plain != value else followed[axis]

    def followed_get_rank(mesh: DeviceMesh) -> Any:
        return sources.known(RankOperation.RANK, get_rank(mesh), sys._getframe(1))

    def followed_get_group(mesh: DeviceMesh, mesh_dim: Any = None) -> Any:
        group, coordinate = get_group(mesh, mesh_dim), get_coordinate(mesh)
        if coordinate is not None:
            axis = _axis(mesh, mesh_dim)
            place = sources.coordinate(mesh, coordinate, sys._getframe(1))[axis] if axis is not None else None
            sources.is_axis(group, place)
        return group

    patches.set(DeviceMesh, "get_group", followed_get_group)
    patches.set(DeviceMesh, "get_coordinate", followed_get_coordinate)
    patches.set(DeviceMesh, MESH_COORDINATE, followed_private_coordinate)
    patches.set(DeviceMesh, "get_local_rank", followed_get_local_rank)
    patches.set(DeviceMesh, "get_rank", followed_get_rank)


def _follow_current_device(patches: Patches, sources: RankSources) -> None:
    """The current device is the number that the rank has on its node, where it is the same. torch itself only passes it on."""

    def following(current: Any) -> Any:
        def current_device() -> Any:
            frame, value = sys._getframe(1), current()
            if owner(frame.f_code.co_filename) not in (Owner.USER, Owner.INSTALLED):
                return value
            return sources.known(RankOperation.LOCAL_RANK, value, frame)

        return current_device

    for module, name in (
        (torch.cuda, "current_device"),
        (torch.accelerator, "current_device_index"),
        (torch.accelerator, "current_device_idx"),
    ):
        patches.set(module, name, following(getattr(module, name)))


def _axis(mesh: DeviceMesh, name: Any) -> int | None:
    """The number of the axis; None if the mesh has none of this name: it may have been flattened."""
    names = mesh.mesh_dim_names or ()
    axis = names.index(name) if name in names else name or 0
    return axis if isinstance(axis, int) else None
