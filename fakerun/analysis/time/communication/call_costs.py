"""CallCosts: the cost of every communication call of a job, by where its ranks are and what joins them."""

from collections.abc import Sequence

from fakerun.analysis.time.communication.across_nodes import FabricRule, across_nodes
from fakerun.analysis.time.communication.call_shape import CallShape, shape_of
from fakerun.analysis.time.communication.channels import occupied_multiprocessors
from fakerun.analysis.time.communication.curves import Estimate
from fakerun.analysis.time.communication.in_node import in_node
from fakerun.analysis.time.communication.own_runs import OwnRuns
from fakerun.analysis.time.communication.placement import Placement, domain_of, placement_of
from fakerun.analysis.time.costs import Basis, CallCost
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.collective_times import CollectiveKind, CollectiveTimes, collective_times
from fakerun.records.collective import CollectiveRecord


class CallCosts:
    """Costs of the calls of a job with `ranks_per_node` ranks on each node of `accelerator`s.

    `times` are the measured curves, `rule` the constants of calls between nodes; others say what would be said without some
    measurements. The user's `own` come before them.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        ranks_per_node: int,
        *,
        times: CollectiveTimes | None = None,
        rule: FabricRule = FabricRule(),  # noqa: B008 frozen
        own: OwnRuns | None = None,
    ) -> None:
        self._accelerator = accelerator
        domain = domain_of(accelerator, ranks_per_node)
        self._ranks_in_domain = domain.ranks
        self._node = in_node(accelerator, ranks_per_node, (times or collective_times()).curves)
        self._fabric = across_nodes(accelerator.interconnect, self._node, domain, rule)
        self._own = own or OwnRuns(runs=())
        self._placements: dict[tuple[int, ...], Placement] = {}
        self._known: dict[tuple[CollectiveKind, float, Placement, bool], CallCost] = {}

    def of(self, call: CollectiveRecord, rank: int | None = None) -> CallCost:
        """The cost of a recorded call of `rank`, which is needed only for sends and receives in groups of more than two.

        A call that runs on the host (gloo) has an unknown cost.
        """
        return UNKNOWN if call.device is None else self.cost(shape_of(call, rank))

    def of_coalesced(self, calls: Sequence[CollectiveRecord], rank: int | None = None) -> CallCost:
        """The cost of calls that were issued as one.

        What is sent and what is received pass the links in opposite directions at the same time; collectives of one kind and group
        are one message.
        """
        shapes = [shape_of(call, rank) for call in calls if call.device is not None]
        if not shapes:
            return UNKNOWN
        directions: dict[object, list[CallShape]] = {}
        for call, shape in zip((call for call in calls if call.device is not None), shapes, strict=True):
            directions.setdefault((call.op, self._leaves(shape)), []).append(shape)
        return max((self._merged(each) for each in directions.values()), key=lambda cost: cost.seconds)

    def cost(self, shape: CallShape) -> CallCost:
        """The cost of a call of this shape."""
        where = self._placement(shape.members)
        key = (shape.kind, shape.nbytes, where, shape.may_multicast)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._cost(shape, where)
        return known

    def _merged(self, shapes: Sequence[CallShape]) -> CallCost:
        first = max(shapes, key=lambda shape: shape.nbytes)
        return self.cost(
            CallShape(
                kind=first.kind,
                nbytes=sum(shape.nbytes for shape in shapes),
                members=first.members,
                may_multicast=all(shape.may_multicast for shape in shapes),
            )
        )

    def _leaves(self, shape: CallShape) -> bool:
        return self._placement(shape.members).nodes > 1

    def _placement(self, members: tuple[int, ...]) -> Placement:
        known = self._placements.get(members)
        if known is None:
            known = self._placements[members] = placement_of(members, self._ranks_in_domain)
        return known

    def _cost(self, shape: CallShape, where: Placement) -> CallCost:
        estimate = self._estimate(shape, where)
        if estimate is None:
            return UNKNOWN
        multicasts = shape.kind is CollectiveKind.ALL_REDUCE and shape.may_multicast and self._node.multicasts(where.ranks)
        occupied = occupied_multiprocessors(
            self._accelerator, shape.kind, shape.nbytes, where, is_linked=self._node.is_linked, multicasts=multicasts
        )
        return CallCost(seconds=estimate.seconds, basis=estimate.basis, multiprocessors=occupied)

    def _estimate(self, shape: CallShape, where: Placement) -> Estimate | None:
        if where.ranks == 1:
            return self._copy(shape)

        def published(nbytes: float, where: Placement, may_multicast: bool) -> Estimate | None:
            return self._published(shape.kind, nbytes, where, may_multicast=may_multicast)

        own = self._own.estimate(shape.kind, shape.nbytes, where, published, may_multicast=shape.may_multicast)
        return own or published(shape.nbytes, where, shape.may_multicast)

    def _published(self, kind: CollectiveKind, nbytes: float, where: Placement, *, may_multicast: bool) -> Estimate | None:
        if where.nodes == 1:
            return self._node.estimate(kind, nbytes, where.ranks, may_multicast=may_multicast)
        return None if self._fabric is None else self._fabric.estimate(kind, nbytes, where, may_multicast=may_multicast)

    def _copy(self, shape: CallShape) -> Estimate | None:
        """NCCL copies the message of a single rank in device memory, unless it is reduced or broadcast in place."""
        if shape.kind in (CollectiveKind.ALL_REDUCE, CollectiveKind.BROADCAST, CollectiveKind.REDUCE):
            return Estimate(seconds=0.0, basis=Basis.ROOFLINE)
        memory = self._accelerator.memory_bytes_per_s
        return None if memory is None else Estimate(seconds=2 * shape.nbytes / memory, basis=Basis.ROOFLINE)


UNKNOWN = CallCost(seconds=0.0, basis=Basis.UNKNOWN, multiprocessors=0)
"""What a call costs of which nothing is known: it runs on the host, or the rates of its links are not in the hardware file."""
