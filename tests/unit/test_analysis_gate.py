"""What a run must hold to pass: the memory limit, ignored codes, strictness."""

import pytest

from fakerun.analysis.gate import Gate, MemoryLimit
from fakerun.errors import ExitCode
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.run import RankRecord
from fakerun.report import build_report
from tests.unit.records_by_hand import GIB, H100, block, job, program, run

WARNING = Finding(code=FindingCode.RANK_MISMATCH, message="rank 3 of 8")
NOTE = Finding(code=FindingCode.MESH_RESIZED, message="the mesh was resized")


def rank(number: int, gib: int, *findings: Finding) -> RankRecord:
    weights = program([block(gib * GIB, Category.PARAMETER, module="layer")], [0])
    return RankRecord(rank=number, devices=(number,), steps=1, program=weights, findings=findings)


@pytest.mark.parametrize(
    ("limit", "over"),
    [
        (MemoryLimit(text="60GiB", nbytes=60 * GIB), False),
        (MemoryLimit(text="50GiB", nbytes=50 * GIB), False),
        (MemoryLimit(text="49GiB", nbytes=49 * GIB), True),
        (MemoryLimit(text="90%", share=0.9), False),
        (MemoryLimit(text="60%", share=0.6), True),
    ],
)
def test_the_peak_is_held_against_the_limit(limit: MemoryLimit, over: bool) -> None:
    report = build_report(job(), run(rank(0, 50), rank(1, 20)), Gate(max_memory=limit))
    assert report.exit_code is (ExitCode.FINDINGS if over else ExitCode.OK)
    assert [finding.code for finding in report.findings] == [FindingCode.MEMORY_LIMIT] * over


def test_the_finding_names_the_device_the_excess_and_the_limit() -> None:
    limit = MemoryLimit(text="25%", share=0.25)
    (finding,) = build_report(job(), run(rank(0, 50), rank(1, 30)), Gate(max_memory=limit)).findings
    assert H100.usable_bytes // 4 < 20 * GIB
    assert finding.message == (
        "cuda:0 of node 0 has 50.0 GiB reserved at the peak, 30.2 GiB above the limit of 19.8 GiB (--max-memory 25%); "
        "also above it: cuda:1 of node 0"
    )
    assert finding.ranks == (0, 1)


def test_ignored_findings_do_not_count_and_are_counted() -> None:
    gate = Gate(ignored=frozenset({FindingCode.RANK_MISMATCH, FindingCode.DOES_NOT_FIT}), strict=True)
    report = build_report(job(), run(rank(0, 100, WARNING, NOTE)), gate)
    assert [finding.code for finding in report.findings] == [FindingCode.MESH_RESIZED]
    assert report.ignored_findings == {FindingCode.DOES_NOT_FIT: 1, FindingCode.RANK_MISMATCH: 1}
    assert report.exit_code is ExitCode.OK


def test_warnings_fail_a_strict_run_only() -> None:
    records = run(rank(0, 1, WARNING, NOTE))
    assert build_report(job(), records).exit_code is ExitCode.OK
    assert build_report(job(), records, Gate(strict=True)).exit_code is ExitCode.FINDINGS
    assert build_report(job(), run(rank(0, 1, NOTE)), Gate(strict=True)).exit_code is ExitCode.OK
