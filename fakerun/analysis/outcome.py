"""The outcome of a run: all findings of all ranks as one tuple, and the exit code that follows from findings and failures.

A rank's failure is not a finding: it has a traceback and an exit code of its own, and every format shows it separately.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace

from fakerun.errors import ExitCode, worst
from fakerun.records.finding_code import FindingCode, Severity
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind, RankRecord

_EXIT_CODES = {
    FailureKind.EXCEPTION: ExitCode.SCRIPT_FAILED,
    FailureKind.EXIT: ExitCode.SCRIPT_FAILED,
    FailureKind.SIGNAL: ExitCode.SCRIPT_FAILED,
    FailureKind.TIMEOUT: ExitCode.SCRIPT_FAILED,
    FailureKind.GAP: ExitCode.INTERNAL,
    FailureKind.INTERNAL: ExitCode.INTERNAL,
    FailureKind.USAGE: ExitCode.USAGE,
    FailureKind.INTERRUPTED: ExitCode.INTERRUPTED,
}

_SEVERITIES = tuple(Severity)
"""Most severe first."""


def all_findings(ranks: Iterable[RankRecord], of_analyses: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of the ranks and of the analyses, the most severe first, a finding that several ranks share once, with all its ranks."""
    of_ranks = (replace(finding, ranks=finding.ranks or (record.rank,)) for record in ranks for finding in record.findings)
    merged: dict[Finding, set[int]] = {}
    for finding in (*of_analyses, *of_ranks):
        merged.setdefault(replace(finding, ranks=()), set()).update(finding.ranks)
    findings = (replace(finding, ranks=tuple(sorted(where))) for finding, where in merged.items())
    return tuple(sorted(findings, key=lambda finding: _SEVERITIES.index(finding.severity)))


def added_findings(added: Iterable[int]) -> tuple[Finding, ...]:
    """One `rank-added` for each rank that was added because another one needed it."""
    return tuple(
        Finding(
            code=FindingCode.RANK_ADDED,
            message=f"rank {rank} was simulated too: others waited for what it sends.",
            ranks=(rank,),
        )
        for rank in added
    )


def exit_code(ranks: Collection[RankRecord], findings: Iterable[Finding], *, is_over_budget: bool = False) -> ExitCode:
    """The exit code of the command; in order of precedence: interruption, internal error, usage error, failure of the script, findings.

    `is_over_budget` is whether the run does not keep one of its budgets. A rank that is blocked is no failure of the script: what it
    waits for is a finding, or the failure of another rank.
    """
    codes = {_EXIT_CODES[record.failure.kind] for record in ranks if record.failure is not None}
    if codes:
        return worst(codes)
    is_wrong = is_over_budget or any(finding.severity is Severity.ERROR for finding in findings)
    if is_wrong or any(record.blocked is not None for record in ranks):
        return ExitCode.FINDINGS
    return ExitCode.OK
