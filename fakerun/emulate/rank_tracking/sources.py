"""Where a program finds its rank: torch.distributed, the mesh, the launcher's variables. Here they answer with followed numbers.

`distributed_c10d` itself asks for its rank in every call, and looks for it in lists of all ranks: it gets plain integers.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import torch.distributed as dist
from torch.distributed import distributed_c10d
from torch.distributed.device_mesh import DeviceMesh

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.rank_tracking.expressions import Expression
from fakerun.emulate.rank_tracking.text import RankText
from fakerun.emulate.rank_tracking.tracker import RankTracker
from fakerun.emulate.rank_tracking.values import RankInt, follow
from fakerun.patching import Patches
from fakerun.records.rank_function import RankOperation
from fakerun.torch_private import MESH_COORDINATE

VARIABLES: dict[str, RankOperation] = {
    **dict.fromkeys(("RANK", "ROLE_RANK", "SLURM_PROCID", "PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"), RankOperation.RANK),
    **dict.fromkeys(
        ("LOCAL_RANK", "SLURM_LOCALID", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_NODE_RANK"),
        RankOperation.LOCAL_RANK,
    ),
    **dict.fromkeys(("GROUP_RANK", "SLURM_NODEID"), RankOperation.NODE_RANK),
}
"""The variables of the launchers, by what they tell."""


class RankSources:
    """Makes the followed numbers of one rank."""

    def __init__(self, context: EmulationContext, tracker: RankTracker) -> None:
        self._rank = context.rank
        self._world_size = context.job.world_size
        node, local = divmod(context.rank, context.job.nproc_per_node)
        self._values = {RankOperation.RANK: context.rank, RankOperation.LOCAL_RANK: local, RankOperation.NODE_RANK: node}
        self._tracker = tracker
        self._meshes: WeakKeyDictionary[DeviceMesh, Any] = WeakKeyDictionary()

    def value(self, operation: RankOperation) -> int:
        """The number that the operation gives for this rank."""
        return self._values[operation]

    def expression(self, operation: RankOperation) -> Expression:
        return self._tracker.expressions.leaf(operation)

    def known(self, operation: RankOperation, value: Any, frame: FrameType) -> Any:
        """The value as what the operation tells of this rank, if it is that."""
        is_it = type(value) is int and value == self._values[operation]
        return follow(value, self.expression(operation), self._tracker, frame) if is_it else value

    def in_group(self, value: Any, ranks: tuple[int, ...], frame: FrameType) -> Any:
        """The position of this rank in a group of these ranks."""
        if type(value) is not int or value < 0:
            return value
        return follow(value, self.position(ranks), self._tracker, frame)

    def position(self, ranks: tuple[int, ...]) -> Expression:
        """The position of the rank in a group, as an expression."""
        if ranks == tuple(range(self._world_size)):
            return self.expression(RankOperation.RANK)
        return self._tracker.expressions.leaf(RankOperation.GROUP_RANK, ranks)

    def coordinate(self, mesh: DeviceMesh, plain: Any, frame: FrameType) -> Any:
        """The mesh's coordinate of this rank, of the type that it has; None stays None, but is a test."""
        if plain is None or mesh not in self._meshes:
            layout = mesh.mesh
            self._report_membership(layout, frame)
            if plain is None:
                return None
            followed = [self._on_axis(layout, axis, place, frame) for axis, place in enumerate(plain)]
            self._meshes[mesh] = type(plain)(followed)
        return self._meshes[mesh]

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
        position = self.expression(RankOperation.RANK)
        if stride > 1:
            position = expressions.binary(RankOperation.FLOORDIV, position, expressions.constant(stride))
        if size * stride < self._world_size:
            position = expressions.binary(RankOperation.MOD, position, expressions.constant(size))
        return position

    def _report_membership(self, layout: Any, frame: FrameType) -> None:
        """Ranks that are not in the mesh of others have none."""
        ranks = tuple(layout.flatten().tolist())
        if self._rank not in ranks:
            expression = self._tracker.expressions.unary(RankOperation.IN, self.expression(RankOperation.RANK), ranks)
            self._tracker.tested(expression, 0, frame)


@contextmanager
def followed_sources(context: EmulationContext, tracker: RankTracker) -> Iterator[None]:
    """Answer with followed numbers wherever the program may ask for its rank."""
    sources = RankSources(context, tracker)
    with Patches() as patches:
        _follow_functions(patches, sources)
        _follow_meshes(patches, sources)
        _follow_variables(patches, sources)
        yield


def _follow_functions(patches: Patches, sources: RankSources) -> None:
    get_rank, get_group_rank, get_node_local_rank = dist.get_rank, dist.get_group_rank, dist.get_node_local_rank
    group_rank = dist.ProcessGroup.rank
    own = vars(distributed_c10d)

    def followed_get_rank(group: Any = None) -> Any:
        frame = sys._getframe(1)
        value = get_rank(group)
        if frame.f_globals is own:
            return value
        if group is None or group is dist.GroupMember.WORLD:
            return sources.known(RankOperation.RANK, value, frame)
        return sources.in_group(value, _ranks_of(group), frame) if value >= 0 else value

    def followed_get_group_rank(group: Any, global_rank: int) -> Any:
        frame, value = sys._getframe(1), get_group_rank(group, global_rank)
        if frame.f_globals is own or type(global_rank) is not RankInt:
            return value
        return sources.in_group(value, _ranks_of(group), frame)

    def followed_get_node_local_rank(fallback_rank: int | None = None) -> Any:
        return sources.known(RankOperation.LOCAL_RANK, get_node_local_rank(fallback_rank), sys._getframe(1))

    def followed_group_rank(group: Any) -> Any:
        frame, value = sys._getframe(1), group_rank(group)
        if frame.f_globals is own:
            return value
        return sources.in_group(value, _ranks_of(group), frame)

    for module in (dist, distributed_c10d):
        patches.set(module, "get_rank", followed_get_rank)
        patches.set(module, "get_group_rank", followed_get_group_rank)
        patches.set(module, "get_node_local_rank", followed_get_node_local_rank)
    patches.set(dist.ProcessGroup, "rank", followed_group_rank)


def _ranks_of(group: Any) -> tuple[int, ...]:
    return tuple(dist.get_process_group_ranks(group))


def _follow_meshes(patches: Patches, sources: RankSources) -> None:
    get_coordinate, get_local_rank, get_rank = DeviceMesh.get_coordinate, DeviceMesh.get_local_rank, DeviceMesh.get_rank
    private_coordinate = getattr(DeviceMesh, MESH_COORDINATE)

    def followed_get_coordinate(mesh: DeviceMesh) -> Any:
        return sources.coordinate(mesh, get_coordinate(mesh), sys._getframe(1))

    def followed_private_coordinate(mesh: DeviceMesh, index: int) -> Any:
        value = private_coordinate(mesh, index)
        if type(value) is not int:
            return value
        return sources.coordinate(mesh, get_coordinate(mesh), sys._getframe(1))[index]

    def followed_get_local_rank(mesh: DeviceMesh, mesh_dim: Any = None) -> Any:
        value, coordinate = get_local_rank(mesh, mesh_dim), get_coordinate(mesh)
        if coordinate is None:
            return value
        names = mesh.mesh_dim_names or ()
        axis = names.index(mesh_dim) if mesh_dim in names else mesh_dim or 0
        followed = sources.coordinate(mesh, coordinate, sys._getframe(1))
        return followed[axis] if isinstance(axis, int) and coordinate[axis] == value else value

    def followed_get_rank(mesh: DeviceMesh) -> Any:
        return sources.known(RankOperation.RANK, get_rank(mesh), sys._getframe(1))

    patches.set(DeviceMesh, "get_coordinate", followed_get_coordinate)
    patches.set(DeviceMesh, MESH_COORDINATE, followed_private_coordinate)
    patches.set(DeviceMesh, "get_local_rank", followed_get_local_rank)
    patches.set(DeviceMesh, "get_rank", followed_get_rank)


class _RankBytes(bytes):
    """The value of a variable, as `os.environ` keeps it, that is read as a followed text."""

    text: RankText


def _follow_variables(patches: Patches, sources: RankSources) -> None:
    """Values of `os.environ`; what is set later is followed if it is a followed text."""
    encode: Any = os.environ.encodevalue  # str to bytes on POSIX
    decode: Any = os.environ.decodevalue

    def encodevalue(value: str) -> Any:
        encoded = encode(value.plain if type(value) is RankText else value)
        return _marked(encoded, value) if type(value) is RankText else encoded

    def decodevalue(value: bytes) -> Any:
        return value.text if type(value) is _RankBytes else decode(value)

    patches.set(os.environ, "encodevalue", encodevalue)
    patches.set(os.environ, "decodevalue", decodevalue)
    table = getattr(os.environ, "_data")  # noqa: B009 - of Python's
    for name, operation in VARIABLES.items():
        written = os.environ.get(name)
        key: Any = os.environ.encodekey(name)
        if written is not None and written == str(sources.value(operation)):
            patches.set_item(table, key, _marked(encode(written), RankText.of(written, (sources.expression(operation),))))


def _marked(encoded: bytes, text: RankText) -> _RankBytes:
    marked = _RankBytes(encoded)
    marked.text = text
    return marked
