"""Budgets that are kept without findings of some kind: ranks agree, calls are waited for, codes are forbidden or allowed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from fakerun.analysis.budgets.check import Check, Limit
from fakerun.analysis.budgets.judged_run import JudgedRun
from fakerun.analysis.dependency import SimulatedWorld
from fakerun.analysis.matching.rank_checks import unwaited_findings
from fakerun.job.budgets import Budgets
from fakerun.records.finding_code import FindingCode, Severity
from fakerun.records.findings import Finding
from fakerun.units import name_ranks


def findings_checks(judged: JudgedRun) -> Iterator[Check]:
    """Those that hold by default first."""
    yield from _ranks_agree(judged)
    yield from _nothing_unawaited(judged)
    budgets = judged.budgets
    if budgets.strict is not None and budgets.strict.on:
        limit = Limit(name="strict", text="no warning", source=budgets.strict.source)
        yield _none_of(limit, [finding for finding in judged.findings if finding.severity is Severity.WARNING], "warning")
    for each in budgets.forbidden:
        limit = Limit(name=f"findings.forbid.{each.code}", text="none", source=each.source)
        yield _none_of(limit, [finding for finding in judged.findings if finding.code is each.code], "finding")


def allowance_checks(budgets: Budgets, left_out: Mapping[FindingCode, int]) -> Iterator[Check]:
    """The codes that are allowed; `left_out` has how many findings of each do not count."""
    for each in budgets.allowed:
        count = left_out.get(each.code, 0)
        limit = Limit(name=f"findings.allow.{each.code}", text="any number", source=each.source)
        yield limit.kept("", f"{count} left out")


def without_allowed(findings: Iterable[Finding], budgets: Budgets) -> tuple[tuple[Finding, ...], Mapping[FindingCode, int]]:
    """The findings that count, and how many of each allowed code do not, by code."""
    allowed = budgets.allowed_codes
    findings = tuple(findings)
    left_out = Counter(finding.code for finding in findings if finding.code in allowed)
    return tuple(finding for finding in findings if finding.code not in allowed), dict(sorted(left_out.items()))


def with_ignored(checks: Iterable[Check], budgets: Budgets) -> tuple[Check, ...]:
    """The checks, with those that did not pass and whose finding is allowed marked as ignored."""
    allowed = budgets.allowed_codes
    return tuple(replace(check, is_ignored=check.finding is not None and check.finding.code in allowed) for check in checks)


def _ranks_agree(judged: JudgedRun) -> Iterator[Check]:
    """Where nobody asked, and it is not known, there is no check."""
    required = judged.budgets.ranks_agree
    if required is not None and not required.on:
        return
    if (required is None and judged.job.world_size == 1) or judged.is_of_simulated:
        return
    limit = Limit(name="ranks_agree", text="no mismatch", source="" if required is None else required.source)
    errors = [finding for finding in judged.matching if finding.severity is Severity.ERROR]
    if errors:
        subject = name_ranks({rank for finding in errors for rank in finding.ranks})
        yield limit.exceeded(subject, f"{len(errors)} mismatch{'es' * (len(errors) != 1)}", errors[0])
        return
    reasons = judged.not_known(judged.every_rank)
    if not reasons:
        known = len({record.rank for record in judged.run.ranks}.union(*(each.ranks for each in judged.run.assumed)))
        yield limit.kept("", f"{known} rank{'s' * (known > 1)} agree{'s' * (known == 1)}")
    elif required is not None:
        yield limit.unverified("", "", reasons)


def _nothing_unawaited(judged: JudgedRun) -> Iterator[Check]:
    required = judged.budgets.no_unawaited_async
    if required is None or not required.on:
        return
    limit = Limit(name="no_unawaited_async", text="none", source=required.source)
    found = list(unwaited_findings(SimulatedWorld(judged.run.ranks)))
    if found:
        yield _none_of(limit, found, "call site")
        return
    reasons = judged.not_known(judged.every_rank)
    yield limit.unverified("", "0 call sites", reasons) if reasons else limit.kept("", "0 call sites")


def _none_of(limit: Limit, found: Sequence[Finding], what: str) -> Check:
    measured = f"{len(found)} {what}{'s' * (len(found) != 1)}"
    return limit.exceeded("", measured, found[0]) if found else limit.kept("", measured)
