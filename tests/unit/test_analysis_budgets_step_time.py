"""The budget of the step time: kept, exceeded, and what cannot be verified."""

from dataclasses import replace

from fakerun.analysis.budgets import JudgedRun
from fakerun.analysis.budgets.check import Check
from fakerun.analysis.budgets.step_time import step_time_checks
from fakerun.analysis.time.estimate import NoEstimate, StepEstimate
from fakerun.job.budgets import Budgets, StepTimeBudget
from fakerun.records.finding_code import FindingCode
from fakerun.records.run import RankRecord
from tests.unit.estimates_by_hand import estimate, published
from tests.unit.records_by_hand import job, run

EXACT, RANGE = estimate(), estimate(published(0.7, 0.9, constant=0.8))
"""5 s; 6.25 s, from 5.56 to 7.14 s."""


def check(most_s: float | None, step_time: StepEstimate | NoEstimate, simulated: int = 2) -> list[Check]:
    budget = None if most_s is None else StepTimeBudget(most_s=most_s, text=f"{most_s}s", source="job.yaml:5")
    judged = JudgedRun(
        job=job(nproc_per_node=2),
        run=run(*(RankRecord(rank=rank) for rank in range(simulated))),
        budgets=Budgets(step_time=budget),
        mesh=None,
        assumed=(),
        placed={},
        devices=(),
        findings=(),
        matching=(),
        step_time=step_time,
    )
    return list(step_time_checks(judged))


def test_without_a_budget_there_is_no_check() -> None:
    assert check(None, EXACT) == []


def test_a_limit_above_all_that_the_step_may_take_is_kept() -> None:
    (found,) = check(7.2, RANGE)
    assert (found.passed, found.name, found.limit, found.measured, found.source) == (
        True,
        "step_time",
        "7.20 s",
        "6.25 s (5.56 s to 7.14 s)",
        "job.yaml:5",
    )
    assert check(5.1, EXACT)[0].measured == "5.00 s"


def test_a_limit_below_the_least_is_exceeded() -> None:
    (found,) = check(5.5, RANGE)
    assert not found.passed
    assert found.finding is not None
    assert found.finding.code is FindingCode.OVER_BUDGET
    assert found.finding.message == (
        "a step is estimated to take 6.25 s (5.56 s to 7.14 s), 55.6 ms above the limit: step_time 5.50 s (job.yaml:5)"
    )
    assert str(found.finding.call_site) == "layers.1.py:1"


def test_a_limit_inside_the_range_cannot_be_verified() -> None:
    (found,) = check(6.3, RANGE)
    assert found.is_unknown
    assert found.reason == "the limit is in the range of what the step may take"


def test_ranks_that_are_not_known_may_take_longer() -> None:
    (found,) = check(10.0, EXACT, simulated=1)
    assert (found.is_unknown, found.reason) == (True, "rank 1 was not simulated")


def test_a_step_time_that_is_not_known_keeps_no_limit() -> None:
    (found,) = check(10.0, NoEstimate("rank 0 failed"))
    assert (found.is_unknown, found.reason) == (True, "the step time is not known: rank 0 failed")


def test_a_step_without_the_time_of_some_communication_verifies_no_limit() -> None:
    bound = replace(EXACT, without="communication between nodes")
    (above,) = check(7.2, bound)
    assert above.is_unknown
    assert above.measured == "at least 5.00 s"
    assert above.finding is not None
    assert "the time of communication between nodes is not known and not counted" in above.finding.message
    (below,) = check(4.0, bound)
    assert below.finding is not None
    assert "a step is estimated to take at least 5.00 s, 1.00 s above the limit" in below.finding.message
