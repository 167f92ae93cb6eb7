"""Jobs with something to say of each kind, and with text that every format must escape, for tests of formats that take several."""

from dataclasses import replace

from fakerun.analysis.budgets.check import Check
from fakerun.call_site import CallSite
from fakerun.job.budgets import Budgets, Required
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.report import JobReport, build_report
from tests.unit.records_by_hand import job, run
from tests.unit.test_report_formats_text import four_ranks_of_which_three_fail, llama_8b

HOSTILE = "100% <of> \"it\" & 'more': a,b;\r\n::error::no \x1b[31m\x00 \ud800 \uffff ]]> --> |"
"""What ends a line, a property, an attribute, a comment, a section or a cell somewhere."""


def skipped(line: int = 18, figure: int = 5) -> Finding:
    return Finding(
        code=FindingCode.MISSING_COLLECTIVE,
        message=f"rank 2 skips collective #{figure} of group dp (ranks 0-3): it calls all_reduce at models/net.py:{line}.",
        ranks=(2,),
        call_site=CallSite("models/net.py", line, "forward"),
        hint="Let every rank make the same calls.",
        other_call_sites=(CallSite("train.py", 44, "main"),),
    )


def findings() -> tuple[Finding, ...]:
    return (
        skipped(),
        Finding(code=FindingCode.DOES_NOT_FIT, message="cuda:0 of node 0 needs 80.1 GiB of 79.1 GiB", ranks=(0,)),
        Finding(code=FindingCode.NEVER_WAITED, message=HOSTILE, ranks=(0, 1), call_site=CallSite("a:b, c%20.py", 7, "<lambda>")),
        Finding(code=FindingCode.UNKNOWN_VALUE, message="reads a value", ranks=(0,), call_site=CallSite("accelerate/state.py", 12, "f")),
    )


def job_report(*found: Finding, name: str = "dense", strict: bool = False) -> JobReport:
    """Of `train.py` in the directory `training` of the repository; files of `accelerate` are outside of it."""
    report = build_report(job(), run(RankRecord(rank=0, findings=found)), Budgets(strict=Required(on=strict, source="--strict")))
    paths = {"train.py": "training/train.py", "models/net.py": "training/models/net.py", "a:b, c%20.py": "training/a:b, c%20.py"}
    return JobReport(name=name, report=report, paths=paths)


def over_budget() -> Finding:
    return Finding(code=FindingCode.OVER_BUDGET, message="the peak of rank 0 is 80.1 GiB, above 70 GiB", ranks=(0,))


def checked_job() -> JobReport:
    """Held against three limits: one of them is kept, one is not, and of one nobody knows."""
    unknown = Finding(code=FindingCode.UNVERIFIED_BUDGET, message="rank 3 was not simulated", call_site=CallSite("models/net.py", 18))
    checks = (
        Check(
            name="peak_reserved",
            subject="rank 0",
            limit="70 GiB",
            measured="80.1 GiB",
            passed=False,
            source="fakerun.yaml:7",
            finding=over_budget(),
        ),
        Check(name="communication.tp.calls", subject="", limit="at most 8", measured="4", passed=True, source="fakerun.yaml:9"),
        Check(name="headroom", subject="rank 3", limit="1 GiB", measured="unknown", passed=False, source="fakerun.yaml:8", finding=unknown),
        Check(name="ranks_agree", subject="", limit="yes", measured="yes", passed=True, source=""),
    )
    one = job_report(replace(over_budget(), ranks=(0, 1)), unknown, skipped(), name="checked")
    return replace(one, report=replace(one.report, checks=checks), paths={**one.paths, "fakerun.yaml": "fakerun.yaml"})


def several_jobs() -> tuple[JobReport, ...]:
    """One with findings of every severity, one with nothing to say, one whose ranks fail, one with a hostile name and the
    first finding, and one with checks."""
    return (
        job_report(*findings()),
        JobReport(name="fine", report=llama_8b(), paths={"scripts/train_tp_fsdp.py": "scripts/train_tp_fsdp.py"}),
        JobReport(name="failing", report=four_ranks_of_which_three_fail(), paths={"train.py": "train.py"}),
        job_report(skipped(), name=HOSTILE),
        checked_job(),
    )
