"""From two sides of a comparison to a Comparison: what differs, as findings, and the figures of both."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from fakerun.analysis.baseline.baseline import Baseline, ClassBaseline, GroupVolume
from fakerun.analysis.baseline.checks import baseline_checks, drift_finding
from fakerun.analysis.baseline.compare import differences
from fakerun.analysis.budgets.findings import allowance_checks, with_ignored, without_allowed
from fakerun.analysis.outcome import all_findings
from fakerun.errors import ExitCode
from fakerun.job.budgets import Budgets
from fakerun.job.tolerances import DEFAULT_TOLERANCES, EXACT, Tolerance, Tolerances
from fakerun.report.build import grouped_findings
from fakerun.report.build_baseline import baseline_of, places_of
from fakerun.report.model import ChangedFact, ComparedFigure, ComparedJob, Comparison, Report

_NO_VOLUME = GroupVolume(calls=0, nbytes=0, bus_bytes=0, inter_node_bytes=0)


def compared_job(name: str, report: Report) -> ComparedJob:
    """A run as a side of a comparison."""
    return ComparedJob(name=name, baseline=baseline_of(report), places=places_of(report))


def build_comparison(old: ComparedJob, new: ComparedJob, tolerances: Tolerances = DEFAULT_TOLERANCES) -> Comparison:
    """Compare an old job with a new one; findings are placed on lines of the new one."""
    found = differences(old.baseline, new.baseline, tolerances, new.places)
    return Comparison(
        old=old,
        new=new,
        facts=tuple(_facts(old, new)),
        differences=found,
        findings=tuple(map(drift_finding, found)),
        figures=tuple(_figures(old, new, tolerances)),
        exit_code=ExitCode.FINDINGS if found else ExitCode.OK,
    )


def held_against_baseline(report: Report, baseline: Baseline, tolerances: Tolerances, budgets: Budgets, *, source: str) -> Report:
    """The report of a run with the checks against its baseline, which is the file `source`; where it drifted, it fails with a finding.

    Findings that `budgets` allow count among those that are ignored.
    """
    found = differences(baseline, baseline_of(report), tolerances, places_of(report))
    checks = with_ignored(baseline_checks(found, tolerances, source), budgets)
    drifted, allowed = without_allowed((check.finding for check in checks if check.finding is not None), budgets)
    ignored = dict(sorted((Counter(report.ignored_findings) + Counter(allowed)).items()))
    allowances = tuple(allowance_checks(budgets, report.ignored_findings))
    others = tuple(check for check in report.checks if check not in allowances)
    findings = all_findings((), (*report.findings, *drifted))
    return replace(
        report,
        findings=findings,
        grouped_findings=grouped_findings(findings),
        checks=(*others, *checks, *allowance_checks(budgets, ignored)),
        ignored_findings=ignored,
        exit_code=ExitCode.FINDINGS if drifted and report.exit_code is ExitCode.OK else report.exit_code,
    )


def _facts(old: ComparedJob, new: ComparedJob) -> Iterator[ChangedFact]:
    before, now = old.baseline.job, new.baseline.job
    for label, was, is_ in (
        ("program", before.program, now.program),
        ("hardware", before.hardware, now.hardware),
        ("steps", before.steps, now.steps),
        ("made with", before.made_with, now.made_with),
    ):
        if was != is_:
            yield ChangedFact(label=label, old=was, new=is_)


def _figures(old: ComparedJob, new: ComparedJob, tolerances: Tolerances) -> Iterator[ComparedFigure]:
    """Of each class that both have."""
    known = {each.ranks: each for each in old.baseline.classes}
    for each in new.baseline.classes:
        if (was := known.get(each.ranks)) is not None:
            yield from chain(_memory_figures(was, each, tolerances), _traffic_figures(was, each, tolerances))


def _memory_figures(old: ClassBaseline, new: ClassBaseline, tolerances: Tolerances) -> Iterator[ComparedFigure]:
    for name, device in new.devices.items():
        if (was := old.devices.get(name)) is not None:
            which = f" on {name}" if len(new.devices) > 1 else ""
            yield _bytes_figure(new.ranks, f"peak allocated{which}", was.allocated, device.allocated, tolerances.allocated)
            yield _bytes_figure(new.ranks, f"peak reserved{which}", was.reserved, device.reserved, tolerances.reserved)


def _traffic_figures(old: ClassBaseline, new: ClassBaseline, tolerances: Tolerances) -> Iterator[ComparedFigure]:
    for name in dict.fromkeys((*old.traffic, *new.traffic)):
        was, is_ = (each.traffic.get(name, _NO_VOLUME) for each in (old, new))
        yield ComparedFigure(
            ranks=new.ranks,
            what=f"calls on {name} in a step",
            unit="calls",
            old=was.calls,
            new=is_.calls,
            tolerance=EXACT.text,
            is_within=was.calls == is_.calls,
        )
        yield _bytes_figure(new.ranks, f"bytes on {name} in a step", was.nbytes, is_.nbytes, tolerances.messages)


def _bytes_figure(ranks: str, what: str, old: int, new: int, tolerance: Tolerance) -> ComparedFigure:
    return ComparedFigure(
        ranks=ranks, what=what, unit="bytes", old=old, new=new, tolerance=tolerance.text, is_within=tolerance.allows(old, new)
    )
