"""The published collectives held against what fakerun says of them from all other publications, by card, nodes and size.

Each source is judged with the curves of the OTHER sources only, so that no figure is compared with itself. Rows of which no other source
has the operation among so many devices on the card's link are shown apart: they are judged by other numbers of devices or by rates.

    python scripts/dev/compare_collective_times.py              # by card, nodes and size
    python scripts/dev/compare_collective_times.py --sources    # by source and operation, too
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import median

from tabulate import tabulate

from fakerun.analysis.time.communication.across_nodes import FabricRule
from fakerun.analysis.time.communication.call_costs import CallCosts
from fakerun.analysis.time.communication.call_shape import CallShape
from fakerun.analysis.time.communication.curves import FEWEST_POINTS
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.collective_times import CollectiveTimes, TimeCurve, collective_times
from fakerun.hardware.interconnects import interconnect_named
from fakerun.hardware.request import hardware_with

MIB = 2**20
RULE = FabricRule()
SMALL, MEDIUM, LARGE = "<= 1 MiB", "1-64 MiB", "> 64 MiB"
IN_NODE, WITHOUT_CURVES, ACROSS = "one node", "one node, no other source", "several nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """One published time and what is said of it without its source, in seconds."""

    curve: TimeCurve
    nbytes: int
    measured_s: float
    said_s: float
    others: int
    """How many curves of other sources are of the same operation, link and number of ranks, inside a node."""

    @property
    def error(self) -> float:
        """Of the measured time; above 0 where too long a time is said."""
        return self.said_s / self.measured_s - 1

    @property
    def size(self) -> str:
        return SMALL if self.nbytes <= MIB else MEDIUM if self.nbytes <= 64 * MIB else LARGE

    @property
    def where(self) -> str:
        """Across nodes, or in one node: with curves of others to go by, or without."""
        if self.curve.nodes > 1:
            return ACROSS
        return IN_NODE if self.others else WITHOUT_CURVES


def judged_rows(times: CollectiveTimes) -> Iterator[JudgedRow]:
    """Every published row, with what is said of it by the other sources."""
    for curve in times.curves:
        yield from judged_curve(curve, times.without(curve.source))


def judged_curve(
    curve: TimeCurve, times: CollectiveTimes, *, latency_s: float | None = None, rule: FabricRule = RULE
) -> Iterator[JudgedRow]:
    """The rows of a curve, with what is said of them by others' `times`, and by another latency of its fabric, if one is given."""
    ranks_on_node = curve.ranks // curve.nodes
    card = _cluster(curve, ranks_on_node)
    if latency_s is not None:
        card = replace(card, interconnect=replace(card.interconnect, nic_latency_s=latency_s))
    costs = CallCosts(card, card.interconnect.devices_per_node or 1, times=times, rule=rule)
    devices = max(ranks_on_node, card.interconnect.domain_size or 0)
    members = tuple(devices * (rank // ranks_on_node) + rank % ranks_on_node for rank in range(curve.ranks))
    others = sum(1 for other in times.curves if _same_call(curve, other))
    for nbytes, measured_s in curve.points:
        said = costs.cost(CallShape(kind=curve.kind, nbytes=nbytes, members=members, may_multicast=True))
        yield JudgedRow(curve=curve, nbytes=nbytes, measured_s=measured_s, said_s=said.seconds, others=others)


def _same_call(one: TimeCurve, other: TimeCurve) -> bool:
    return (one.kind, one.ranks, one.nodes, _link(one)) == (other.kind, other.ranks, other.nodes, _link(other)) and len(
        other.points
    ) >= FEWEST_POINTS


def _link(curve: TimeCurve) -> tuple[str | None, float | None]:
    node = hardware_named(curve.card).interconnect
    return node.link, node.link_bytes_per_s


def _cluster(curve: TimeCurve, ranks_on_node: int) -> Accelerator:
    """The card in nodes as large as the curve's, with its interconnect. A node of several trays is one domain of NVLink."""
    card = hardware_with(curve.card, interconnect_named(curve.interconnect).texts if curve.interconnect else {})
    tray = card.interconnect.devices_per_node or 1
    return replace(card, interconnect=replace(card.interconnect, domain_size=max(tray, ranks_on_node)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How near some rows come: the median of the absolute errors, the share within 15 %, and the worst error."""

    rows: int
    median: float
    within_15: float
    worst: float


def agreement(rows: Iterable[JudgedRow]) -> Agreement:
    """Of rows, of which there is at least one."""
    errors = [row.error for row in rows]
    return Agreement(
        rows=len(errors),
        median=median(map(abs, errors)),
        within_15=sum(abs(error) <= 0.15 for error in errors) / len(errors),
        worst=max(errors, key=abs),
    )


def table(rows: Iterable[JudgedRow], *, by_source: bool) -> str:
    """The agreement by card, nodes and size; and by source and operation, if asked."""
    groups: dict[tuple[str, ...], list[JudgedRow]] = {}
    for row in rows:
        source = (row.curve.source, row.curve.kind, str(row.curve.ranks)) if by_source else ()
        groups.setdefault(("all", row.where, *("" for _ in source), row.size), []).append(row)
        groups.setdefault((row.curve.card, row.where, *source, row.size), []).append(row)
    head = ("card", "ranks on", *(("source", "operation", "ranks") if by_source else ()), "size", "rows", "median", "within 15 %", "worst")
    lines = [(*key, *_texts(agreement(group))) for key, group in sorted(groups.items())]
    return tabulate(lines, headers=head, disable_numparse=True)


def _texts(of: Agreement) -> tuple[str, ...]:
    return str(of.rows), f"{of.median:.1%}", f"{of.within_15:.0%}", f"{of.worst:+.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", action="store_true", help="by source and operation, too")
    print(table(judged_rows(collective_times()), by_source=parser.parse_args().sources))


if __name__ == "__main__":
    main()
