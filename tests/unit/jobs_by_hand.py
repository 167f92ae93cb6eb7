"""Jobs with something to say of each kind, and with text that every format must escape, for tests of formats that take several."""

from fakerun.analysis.gate import Gate
from fakerun.call_site import CallSite
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
    report = build_report(job(), run(RankRecord(rank=0, findings=found)), Gate(strict=strict))
    paths = {"train.py": "training/train.py", "models/net.py": "training/models/net.py", "a:b, c%20.py": "training/a:b, c%20.py"}
    return JobReport(name=name, report=report, paths=paths)


def several_jobs() -> tuple[JobReport, ...]:
    """One with findings of every severity, one with nothing to say, one whose ranks fail, one with a hostile name and the first finding."""
    return (
        job_report(*findings()),
        JobReport(name="fine", report=llama_8b(), paths={"scripts/train_tp_fsdp.py": "scripts/train_tp_fsdp.py"}),
        JobReport(name="failing", report=four_ranks_of_which_three_fail(), paths={"train.py": "train.py"}),
        job_report(skipped(), name=HOSTILE),
    )
