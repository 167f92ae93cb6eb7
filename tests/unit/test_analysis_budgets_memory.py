"""Budgets of device memory: what is kept, what is not, and what cannot be told."""

from dataclasses import replace

import pytest

from fakerun.analysis.budgets.check import Check
from fakerun.errors import ExitCode
from fakerun.job.budgets import EVERY_DEVICE, Budgets, CodeBudget, MemoryBudget, MemoryKey, Required, parse_memory_limit, parse_selection
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.run import AssumedRanks, FailureKind, ProcessFailure, RankRecord, RunRecord
from fakerun.report import Report, build_report
from tests.unit.records_by_hand import GIB, H100, block, job, program, run

TWO = job(nproc_per_node=2)
FOUR = job(nproc_per_node=4)
MESH = Mesh.of({"pp": 2, "dp": 2})
RESERVED, TOTAL, HEADROOM = MemoryKey.PEAK_RESERVED, MemoryKey.DEVICE_TOTAL, MemoryKey.HEADROOM


def rank(number: int, gib: float, *, device: int | None = None, findings: tuple[Finding, ...] = (), mesh: Mesh | None = None) -> RankRecord:
    weights = program([block(int(gib * GIB), Category.PARAMETER, module="layer")], [0])
    return RankRecord(rank=number, devices=(number if device is None else device,), steps=1, program=weights, findings=findings, mesh=mesh)


def memory(limit: str, key: MemoryKey = RESERVED, of: str = "", **fields: bool) -> Budgets:
    selection = parse_selection(of) if of else EVERY_DEVICE
    return Budgets(memory=(MemoryBudget(key=key, of=selection, limit=parse_memory_limit(limit), source="job.yaml:7", **fields),))


def said(check: Check) -> str:
    """What was measured, and why it is not known whether that is within the limit."""
    return "; ".join(filter(None, (check.measured, check.reason)))


def outcome(report: Report, name: str = "") -> tuple[str, str, str]:
    """The check of a memory budget: subject, what was measured, and whether it passed."""
    (check,) = (check for check in report.checks if (check.name.startswith(name) if name else check.name not in ("ranks_agree", "fits")))
    return check.subject, said(check), "ok" if check.passed else "unknown" if check.is_unknown else "failed"


RANKS = run(rank(0, 50), rank(1, 20))


@pytest.mark.parametrize(
    ("limit", "passed"), [("60GiB", True), ("50GiB", True), ("49GiB", False), ("90%", True), ("60%", False), ("0.05TiB", True)]
)
def test_the_device_with_the_highest_peak_is_held_against_the_limit(limit: str, passed: bool) -> None:
    report = build_report(TWO, RANKS, memory(limit))
    assert outcome(report) == ("cuda:0 of node 0", "50.0 GiB", "ok" if passed else "failed")
    assert report.exit_code is (ExitCode.OK if passed else ExitCode.FINDINGS)
    assert [finding.code for finding in report.findings] == [FindingCode.OVER_BUDGET] * (not passed)


def test_the_finding_names_the_device_the_excess_and_the_limit() -> None:
    (finding,) = build_report(TWO, run(rank(0, 50), rank(1, 30)), memory("25%")).findings
    assert H100.usable_bytes // 4 < 20 * GIB
    assert finding.message == (
        "cuda:0 of node 0 has 50.0 GiB reserved at the peak, 30.2 GiB above the limit: peak_reserved 19.8 GiB (job.yaml:7); "
        "also beyond it: cuda:1 of node 0"
    )
    assert (finding.ranks, str(finding.call_site)) == ((0, 1), "train.py:1")


@pytest.mark.parametrize(
    ("of", "subject", "measured", "result"),
    [
        ("all", "cuda:0 of node 0", "50.0 GiB", "failed"),
        ("1", "rank 1", "20.0 GiB", "ok"),
        ("0-1", "rank 0", "50.0 GiB", "failed"),
        ("cuda:1", "cuda:1 of node 0", "20.0 GiB", "ok"),
        ("cuda:1 of node 0", "cuda:1 of node 0", "20.0 GiB", "ok"),
        ("cuda:3", "", "0 B", "ok"),
        ("pp=1", "rank 2", "25.0 GiB", "ok"),
        ("pp=0,dp=1", "rank 1", "20.0 GiB", "ok"),
        ("4", "", "the job has 4 ranks", "unknown"),
        ("cuda:0 of node 1", "", "the job has 1 node", "unknown"),
        ("cuda:4", "", "no rank uses cuda:4, and a node has 4 ranks", "unknown"),
        ("tp=0", "", "the mesh has no axis tp, only pp, dp", "unknown"),
        ("pp=2", "", "axis pp has 2 indices", "unknown"),
    ],
)
def test_what_a_limit_is_about(of: str, subject: str, measured: str, result: str) -> None:
    ranks = (rank(0, 50, mesh=MESH), rank(1, 20, mesh=MESH), rank(2, 25, mesh=MESH), rank(3, 10, device=2, mesh=MESH))
    # Ranks 2 and 3 share a device.
    assert outcome(build_report(FOUR, run(*ranks), memory("40GiB", of=of))) == (subject, measured, result)


def test_a_place_in_a_mesh_that_is_not_there() -> None:
    assert outcome(build_report(TWO, RANKS, memory("40GiB", of="pp=0"))) == ("", "the run has no mesh", "unknown")


@pytest.mark.parametrize(("limit", "result"), [("29GiB", "failed"), ("40GiB", "unknown"), ("50GiB", "ok")])
def test_several_ranks_on_one_device_may_peak_at_different_times(limit: str, result: str) -> None:
    report = build_report(TWO, run(rank(0, 30), rank(1, 20, device=0)), memory(limit))
    reason = "; the limit is in the range of what may be needed" * (result == "unknown")
    assert outcome(report) == ("cuda:0 of node 0", f"30.0 GiB to 50.0 GiB{reason}", result)
    assert report.exit_code is (ExitCode.OK if result == "ok" else ExitCode.FINDINGS)


def test_allocated_is_less_than_reserved() -> None:
    for key, limit, result in (
        (MemoryKey.PEAK_ALLOCATED, "1025.5MiB", "ok"),
        (RESERVED, "1025.5MiB", "failed"),
        (RESERVED, "1026MiB", "ok"),
    ):
        assert outcome(build_report(TWO, run(rank(0, 1.001), rank(1, 0.5)), memory(limit, key)))[2] == result


def test_the_total_and_the_headroom_are_ranges() -> None:
    """What a process holds outside the allocator is estimated: the least and the most of it."""
    report = build_report(TWO, RANKS)
    fit = report.devices[0].fit
    assert 0 < fit.outside_low_bytes < fit.outside_high_bytes
    low, high = fit.least_bytes / GIB, fit.most_bytes / GIB
    between = f"{(low + high) / 2}GiB"
    for limit, result in ((f"{low - 0.01}GiB", "failed"), (between, "unknown"), (f"{high + 0.01}GiB", "ok")):
        assert outcome(build_report(TWO, RANKS, memory(limit, TOTAL)))[2] == result
    usable = H100.usable_bytes / GIB
    for left, result in ((usable - low + 0.01, "failed"), (usable - (low + high) / 2, "unknown"), (usable - high - 0.01, "ok")):
        assert outcome(build_report(TWO, RANKS, memory(f"{left}GiB", HEADROOM)))[2] == result


def test_headroom_is_said_as_what_is_left() -> None:
    report = build_report(TWO, RANKS, memory("40%", HEADROOM))
    (check,) = (check for check in report.checks if check.name == "headroom")
    left = report.devices[0].fit
    assert check.limit == "at least 31.7 GiB"
    assert check.measured == f"{left.headroom_bytes / GIB:.1f} GiB to {(left.usable_bytes - left.least_bytes) / GIB:.1f} GiB"
    assert check.finding is not None
    assert "left, " in check.finding.message
    assert "below the limit: headroom at least 31.7 GiB" in check.finding.message


FAILED = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no")
ASSUMED = Finding(code=FindingCode.RANKS_ASSUMED, message="ranks are assumed")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (run(rank(0, 50)), "rank 1 was not simulated"),
        (run(rank(0, 50), replace(rank(1, 20), failure=FAILED)), "rank 1 failed"),
        (
            replace(run(rank(0, 50)), assumed=(AssumedRanks(ranks=(1,), representative=0),), findings=(ASSUMED,)),
            "rank 1 was not simulated, only assumed to match others",
        ),
    ],
)
def test_ranks_that_are_not_known_may_need_more(record: RunRecord, reason: str) -> None:
    report = build_report(TWO, record, memory("60GiB"))
    (check,) = (check for check in report.checks if check.name == "peak_reserved")
    assert (check.passed, check.is_unknown, said(check)) == (False, True, f"50.0 GiB; {reason}")
    assert check.finding is not None
    assert check.finding.message == f"peak_reserved 60.0 GiB (job.yaml:7) cannot be verified of {check.subject}: {reason}"
    assert check.finding in report.findings
    assert report.exit_code is not ExitCode.OK


def test_a_limit_that_is_exceeded_is_exceeded_whatever_is_not_known() -> None:
    assert outcome(build_report(TWO, run(rank(0, 50)), memory("40GiB")))[2] == "failed"


def test_a_limit_of_simulated_ranks_needs_no_others() -> None:
    assert outcome(build_report(TWO, run(rank(0, 50)), memory("60GiB", only_simulated=True)))[2] == "ok"
    assert outcome(build_report(TWO, run(rank(0, 50)), memory("60GiB", of="0")))[2] == "ok"


def test_ranks_that_are_represented_are_known() -> None:
    represented = replace(run(rank(0, 50)), assumed=(AssumedRanks(ranks=(1,), representative=0),))
    assert outcome(build_report(TWO, represented, memory("60GiB")))[2] == "ok"


def test_who_allows_assumed_ranks_takes_them_as_known() -> None:
    assumed = replace(run(rank(0, 50)), assumed=(AssumedRanks(ranks=(1,), representative=0),), findings=(ASSUMED,))
    allowed = CodeBudget(code=FindingCode.RANKS_ASSUMED, source="job.yaml:9")
    assert outcome(build_report(TWO, assumed, replace(memory("60GiB"), allowed=(allowed,))), "peak")[2] == "ok"


FITS = Budgets(fits=Required(source="job.yaml:3"))


def fits(job_: JobSpec, record: RunRecord, budgets: Budgets = FITS) -> tuple[str, str, str] | None:
    report = build_report(job_, record, budgets)
    return outcome(report, "fits") if any(check.name == "fits" for check in report.checks) else None


def test_it_fits() -> None:
    fit = build_report(TWO, RANKS).devices[0].fit
    total = f"{fit.least_bytes / GIB:.1f} GiB to {fit.most_bytes / GIB:.1f} GiB"
    assert fits(TWO, RANKS) == ("cuda:0 of node 0", total, "ok")
    assert fits(TWO, RANKS, Budgets()) == ("cuda:0 of node 0", total, "ok")
    assert fits(TWO, RANKS, Budgets(fits=Required(on=False, source="job.yaml:3"))) is None


def test_it_does_not_fit() -> None:
    report = build_report(TWO, run(rank(0, 100), rank(1, 20)), FITS)
    assert outcome(report, "fits")[2] == "failed"
    (check,) = (check for check in report.checks if check.name == "fits")
    assert check.finding is not None
    assert check.finding.code is FindingCode.DOES_NOT_FIT
    assert [finding.code for finding in report.findings] == [FindingCode.DOES_NOT_FIT]


def test_a_narrow_fit_is_not_known_to_fit() -> None:
    fit = build_report(TWO, RANKS).devices[0].fit
    outside_gib = (fit.outside_low_bytes + fit.outside_high_bytes) / 2 / GIB
    narrow = run(rank(0, H100.usable_bytes / GIB - outside_gib), rank(1, 20))
    found = fits(TWO, narrow)
    assert found is not None
    assert found[2] == "unknown"
    assert found[1].endswith("it fits narrowly: it may be too little")
    assert fits(TWO, narrow, Budgets()) is None, "where nobody asks, the warning says it"
    allowed = CodeBudget(code=FindingCode.TIGHT_FIT, source="job.yaml:9")
    accepted = fits(TWO, narrow, replace(FITS, allowed=(allowed,)))
    assert accepted is not None
    assert accepted[2] == "ok"


def test_another_allocator_reserves_what_is_not_known() -> None:
    other = Finding(code=FindingCode.OTHER_ALLOCATOR, message="cudaMallocAsync")
    ranks = run(rank(0, 50, findings=(other,)), rank(1, 20))
    assert outcome(build_report(TWO, ranks, memory("60GiB"))) == (
        "cuda:0 of node 0",
        "50.0 GiB; what another allocator reserves is not simulated",
        "unknown",
    )
    assert outcome(build_report(TWO, ranks, memory("60GiB", MemoryKey.PEAK_ALLOCATED)))[2] == "ok"
