"""`compare_collective_times.py` and `fit_collectives.py`: judged by other sources, and constants that a search moves towards the best."""

import random
from dataclasses import asdict, replace

import pytest
from dev import fit_collectives
from dev.compare_collective_times import (
    ACROSS,
    IN_NODE,
    LARGE,
    MEDIUM,
    SMALL,
    WITHOUT_CURVES,
    JudgedRow,
    agreement,
    judged_curve,
    judged_rows,
    table,
)
from dev.fit_collectives import Constants, fabric_of, fitted, judged, loss, starting_constants

from fakerun.analysis.time.communication.across_nodes import FabricRule
from fakerun.hardware.collective_times import CollectiveKind, CollectiveTimes, TimeCurve, TimeSource, collective_times
from fakerun.hardware.interconnects import interconnect_named

MIB = 2**20
SIZES = (1024, MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB)


def curve(source: str = "one", us_per_mib: float = 10.0, **others: object) -> TimeCurve:
    fields = {"card": "h100-80gb", "kind": CollectiveKind.ALL_REDUCE, "ranks": 8, "nodes": 1, **others}
    points = tuple((size, (20.0 + us_per_mib * size / MIB) * 1e-6) for size in SIZES)
    return TimeCurve(source=source, points=points, **fields)  # type: ignore[arg-type]


def times(*curves: TimeCurve) -> CollectiveTimes:
    source = TimeSource(address="somewhere", licence="figures only", measured="nccl-tests")
    return CollectiveTimes(sources={each.source: source for each in curves}, curves=curves)


def row(nbytes: int, error: float, nodes: int = 1, others: int = 1) -> JudgedRow:
    return JudgedRow(curve=curve(nodes=nodes), nbytes=nbytes, measured_s=1.0, said_s=1.0 + error, others=others)


def test_a_source_is_judged_by_the_others_only() -> None:
    """Two sources that say the same find each other; of a third, twice as slow, the two are what is said."""
    same, slow = list(judged_rows(times(curve("one"), curve("two")))), list(judged_rows(times(curve("one"), curve("slow", 20.0))))
    assert all(row.others == 1 and row.error == pytest.approx(0, abs=0.02) for row in same)
    by_source = {name: [each.error for each in slow if each.curve.source == name and each.size == LARGE] for name in ("one", "slow")}
    assert by_source["one"] == [pytest.approx(1.0, abs=0.03)]
    assert by_source["slow"] == [pytest.approx(-0.5, abs=0.03)]


def test_rows_are_of_a_size_and_a_place() -> None:
    assert [row(nbytes, 0).size for nbytes in (MIB, MIB + 1, 64 * MIB, 64 * MIB + 1)] == [SMALL, MEDIUM, MEDIUM, LARGE]
    assert [row(1, 0).where, row(1, 0, others=0).where, row(1, 0, nodes=2, others=0).where] == [IN_NODE, WITHOUT_CURVES, ACROSS]


def test_agreement_is_of_the_sizes_of_errors() -> None:
    found = agreement([row(1, 0.05), row(1, -0.2), row(1, 0.1), row(1, 0.15)])
    assert (found.rows, found.within_15) == (4, 0.75)
    assert (found.median, found.worst) == pytest.approx((0.125, -0.2))


def test_the_table_has_all_cards_and_each() -> None:
    rows = [row(MIB, 0.1), row(128 * MIB, -0.5), row(128 * MIB, 0.3, nodes=2)]
    lines = [line.split("  ") for line in table(rows, by_source=False).splitlines()[2:]]
    assert [[cell.strip() for cell in line if cell.strip()] for line in lines] == [
        [card, where, size, "1", median, within, worst]
        for card in ("all", "h100-80gb")
        for where, size, median, within, worst in (
            (IN_NODE, SMALL, "10.0%", "100%", "+10%"),
            (IN_NODE, LARGE, "50.0%", "0%", "-50%"),
            (ACROSS, LARGE, "30.0%", "0%", "+30%"),
        )
    ]
    assert "one" in table(rows, by_source=True)


def test_latency_and_rule_are_those_that_are_given() -> None:
    """Of calls between nodes: a slower NIC, or one that is used to a half, takes longer."""
    between = curve(nodes=2, ranks=16, interconnect="ib-ndr-8x")
    small, large = between.points[0][0], between.points[-1][0]

    def said(**given: object) -> dict[int, float]:
        return {row.nbytes: row.said_s for row in judged_curve(between, times(curve("other")), **given)}  # type: ignore[arg-type]

    usual = said(latency_s=20e-6)
    assert said(latency_s=100e-6)[small] > usual[small] + 50e-6
    assert said(latency_s=20e-6, rule=FabricRule(nic_share=0.47))[large] > 1.5 * usual[large]


BETWEEN = (curve("a", nodes=2, ranks=16, interconnect="ib-ndr-8x"), curve("b", nodes=2, ranks=16, interconnect="aws-p4d", card="a100-80gb"))


def test_efa_of_p4d_is_a_fabric_of_its_own() -> None:
    assert list(map(fabric_of, BETWEEN)) == [interconnect_named("ib-ndr-8x").fabric, "aws-p4d"]
    assert fabric_of(replace(BETWEEN[0], interconnect="ib-hdr-8x")) == fabric_of(BETWEEN[0])
    assert fabric_of(replace(BETWEEN[1], interconnect="aws-p5")) != "aws-p4d"


def test_the_loss_weighs_large_messages_most_and_no_row_too_much() -> None:
    assert loss([row(MIB, 0.0), row(128 * MIB, 0.0)]) == 0
    assert loss([row(MIB, 0.0), row(128 * MIB, 0.1)]) > loss([row(MIB, 0.1), row(128 * MIB, 0.0)])
    assert loss([row(128 * MIB, 9.0)]) == loss([row(128 * MIB, 0.5)]) == pytest.approx(0.3)


def test_moved_constants_stay_possible() -> None:
    start, chance = starting_constants(BETWEEN), random.Random(0)
    moved = [start.moved(0.3, chance) for _ in range(50)]
    assert all(each.rule.nic_share <= 1 and each.rule.hindrance <= 0.15 for each in moved)
    assert len({each.rule.step_s for each in moved}) > 5
    assert all(value > 0 for each in moved for value in (*asdict(each.rule).values(), *each.latencies.values()))


def test_a_search_only_gets_better_and_is_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The curve was made by the constants that are searched for."""
    truth = Constants(rule=FabricRule(), latencies={fabric_of(BETWEEN[0]): 15e-6})
    monkeypatch.setattr(fit_collectives, "collective_times", lambda: times(curve("other")))
    made = replace(BETWEEN[0], points=tuple((each.nbytes, each.said_s) for each in judged([BETWEEN[0]], truth)))
    start = starting_constants([made])
    found = fitted([made], start, tries=60)
    assert loss(judged([made], truth)) == pytest.approx(0, abs=1e-9)
    assert loss(judged([made], found)) < 0.7 * loss(judged([made], start))
    assert found == fitted([made], start, tries=60)


# -- what is in the repository --------------------------------------------------------------------------------------------------------


def test_fakeruns_constants_are_better_than_round_ones_on_the_published_runs() -> None:
    """The search takes ten minutes; here, that its result is in the repository and not what it started from."""
    curves = [each for each in collective_times().curves if each.nodes > 1 and each.source not in fit_collectives.NOT_FITTED]

    def loss_of(rule: FabricRule) -> float:
        everything = collective_times()
        return loss([row for each in curves for row in judged_curve(each, everything, rule=rule)])

    assert loss_of(FabricRule()) < 0.97 * loss_of(starting_constants(curves).rule)


def test_the_published_rows_agree_as_the_documents_say() -> None:
    """docs/interconnects.md, from all sources by the others."""
    rows = [row for row in judged_rows(collective_times()) if row.size == LARGE]
    in_node = agreement([row for row in rows if row.where == IN_NODE])
    across = agreement([row for row in rows if row.where == ACROSS])
    assert in_node.median <= 0.04
    assert in_node.within_15 >= 0.95
    assert across.median <= 0.08
    assert across.within_15 >= 0.75
