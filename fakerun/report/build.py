"""From the records of a run to a Report: calls every analysis once for each class of ranks."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fakerun.analysis.budgets import JudgedRun, checks_of
from fakerun.analysis.budgets.check import Check
from fakerun.analysis.budgets.findings import allowance_checks, with_ignored, without_allowed
from fakerun.analysis.budgets.no_collectives import forbidden_findings
from fakerun.analysis.classes import RankClass, rank_classes
from fakerun.analysis.duplicate_gpus import duplicate_gpu_findings
from fakerun.analysis.links import NodeOfRank
from fakerun.analysis.matching import matching_findings
from fakerun.analysis.matching.description import describe_call, describe_group
from fakerun.analysis.memory.allocator_settings import allocator_findings
from fakerun.analysis.memory.devices import Devices, devices_of_ranks
from fakerun.analysis.memory.fit import fit_findings
from fakerun.analysis.memory.other_ranks_gpu import other_ranks_gpu_findings
from fakerun.analysis.other_launcher import other_launcher_findings
from fakerun.analysis.outcome import added_findings, all_findings, exit_code
from fakerun.analysis.representatives import assumed_records
from fakerun.analysis.traffic import Traffic, traffic_of
from fakerun.errors import ExitCode
from fakerun.job.budgets import Budgets
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh, mesh_in_effect
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import ProcessFailure, RankRecord, RunRecord
from fakerun.report.build_history import rank_history
from fakerun.report.build_memory import MemoryOfRun
from fakerun.report.build_time import PlayedStep, played_step, step_estimate
from fakerun.report.build_timeline import step_timeline
from fakerun.report.model import BlockedReport, ClassReport, FailureReport, FindingReport, NoEstimate, RankReport, Report, StepTimeline
from fakerun.units import name_ranks

_NOTHING_MORE = Budgets()


def build_report(
    job: JobSpec,
    run: RunRecord,
    budgets: Budgets = _NOTHING_MORE,
    *,
    with_history: bool = False,
    with_timeline: bool = False,
    is_of_simulated: bool = False,
) -> Report:
    """Run every analysis on the records of a run; `budgets` go over those of the job.

    `with_history` and `with_timeline` are for formats that need them. With `is_of_simulated` the budgets are about the ranks that the run
    has, whatever others do.
    """
    budgets = budgets.over(job.budgets)
    classes = rank_classes(run.ranks, run.assumed)
    mesh = mesh_in_effect(job.mesh, (record.mesh for record in run.ranks))
    devices = devices_of_ranks(run.ranks, classes, ranks_per_node=job.nproc_per_node)
    memory = MemoryOfRun(job, run, classes, devices)
    ranks = _rank_reports(job, run, mesh, classes, memory)
    assumed = tuple(assumed_records(run))
    matching = matching_findings([*run.ranks, *assumed])
    found, left_out = without_allowed(
        all_findings(
            run.ranks,
            (
                *matching,
                *_findings(job, run, [*run.ranks, *assumed], devices, memory),
                *forbidden_findings(run.ranks, job, budgets),
            ),
        ),
        budgets,
    )
    played = played_step(job, run.ranks, assumed)
    step_time = step_estimate(job, run.ranks, mesh, played)
    judged = JudgedRun(
        job=job,
        run=run,
        budgets=budgets,
        mesh=mesh,
        assumed=assumed,
        placed=devices,
        devices=memory.physical,
        findings=found,
        matching=without_allowed(matching, budgets)[0],
        step_time=step_time,
        is_of_simulated=is_of_simulated,
    )
    verdict = _verdict(judged, left_out)
    report = Report(
        job=job,
        fakerun_version=run.fakerun_version,
        torch_version=run.torch_version,
        mesh=mesh,
        ranks=ranks,
        devices=memory.reports(),
        classes=_class_reports(classes, ranks, mesh, memory),
        findings=verdict.findings,
        grouped_findings=grouped_findings(verdict.findings),
        failures=_failures(run.ranks),
        blocked=_blocked(run.ranks),
        checks=verdict.checks,
        steps_completed=_steps_completed(run.ranks),
        ignored_findings=verdict.ignored,
        failing=budgets.failing,
        exit_code=verdict.exit_code,
        step_time=step_time,
    )
    return replace(
        report,
        history=rank_history(job, report.largest) if with_history else None,
        timeline=_timeline(job, played) if with_timeline else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What the budgets make of a run: with findings that they allow left out, and counted by code in `ignored`."""

    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    ignored: Mapping[FindingCode, int]
    exit_code: ExitCode


def _verdict(judged: JudgedRun, left_out: Mapping[FindingCode, int]) -> _Verdict:
    """Hold the run against its budgets; `left_out` are the findings that were allowed before, by code."""
    budgets, ranks = judged.budgets, judged.run.ranks
    checks = with_ignored(checks_of(judged), budgets)
    broken, allowed = without_allowed((check.finding for check in checks if check.finding is not None), budgets)
    ignored = dict(sorted((Counter(left_out) + Counter(allowed)).items()))
    findings = all_findings((), (*judged.findings, *broken))
    return _Verdict(
        findings=findings,
        checks=(*checks, *allowance_checks(budgets, ignored)),
        ignored=ignored,
        exit_code=exit_code(ranks, findings, is_over_budget=bool(broken)),
    )


def _timeline(job: JobSpec, played: PlayedStep | NoEstimate) -> StepTimeline | NoEstimate:
    return played if isinstance(played, NoEstimate) else step_timeline(job, played.timeline, played.summed)


def _rank_reports(
    job: JobSpec, run: RunRecord, mesh: Mesh | None, classes: Sequence[RankClass], memory: MemoryOfRun
) -> tuple[RankReport, ...]:
    """Analyse each rank. The traffic of one rank of a class is that of all, unless there are nodes: which peers are remote differs."""
    records = {record.rank: record for record in run.ranks}
    reports: dict[int, RankReport] = {}
    for each in classes:
        known: Traffic | None = None
        for rank in each.simulated:
            if known is None or job.nnodes > 1:
                node = NodeOfRank(rank=rank, ranks_per_node=job.nproc_per_node)
                known = traffic_of(records[rank].collectives, node, steps=records[rank].steps)
            reports[rank] = RankReport(record=records[rank], coordinate=_coordinate(mesh, rank), devices=memory.of(rank), traffic=known)
    return tuple(reports[rank] for rank in sorted(reports))


def _coordinate(mesh: Mesh | None, rank: int) -> Mapping[str, int]:
    return {} if mesh is None else mesh.by_axis(mesh.coordinate(rank))


def _class_reports(
    classes: Sequence[RankClass], ranks: Iterable[RankReport], mesh: Mesh | None, memory: MemoryOfRun
) -> tuple[ClassReport, ...]:
    reports = {rank.record.rank: rank for rank in ranks}
    return tuple(_class_report(each, reports[each.simulated[0]], mesh, memory.headroom_bytes(each.ranks)) for each in classes)


def _class_report(each: RankClass, example: RankReport, mesh: Mesh | None, headroom_bytes: int) -> ClassReport:
    volumes = example.traffic.total
    return ClassReport(
        simulated=each.simulated,
        assumed=each.assumed,
        example=example,
        mesh_box=None if mesh is None else mesh.box(each.ranks),
        headroom_bytes=min(headroom_bytes, example.headroom_bytes),
        last_step=volumes.per_step[-1] if volumes.per_step else volumes.after,
    )


def _findings(
    job: JobSpec, run: RunRecord, records: Sequence[RankRecord], devices: Mapping[int, Devices], memory: MemoryOfRun
) -> Iterator[Finding]:
    """What the analyses find beside mismatches and broken budgets; `records` are those of all ranks, also of assumed ones."""
    yield from duplicate_gpu_findings(records, devices, ranks_per_node=job.nproc_per_node)
    yield from fit_findings(memory.physical, job.hardware)
    yield from allocator_findings(job, run.ranks)
    yield from other_ranks_gpu_findings(memory.physical, job.hardware)
    yield from added_findings(run.added)
    yield from other_launcher_findings(run.ranks, job.launcher)
    yield from run.findings


def grouped_findings(findings: Iterable[Finding]) -> tuple[FindingReport, ...]:
    """The findings, those that say the same of several places joined."""
    grouped: dict[Finding, FindingReport] = {}
    for finding in findings:
        statement = replace(finding, call_site=None)
        known = grouped.get(statement, FindingReport(finding=statement, call_sites=()))
        here = (finding.call_site,) if finding.call_site else ()
        grouped[statement] = replace(known, call_sites=(*known.call_sites, *here))
    return tuple(grouped.values())


def _failures(records: Iterable[RankRecord]) -> tuple[FailureReport, ...]:
    """Failures with the same message at the same place in the same step are one; the traceback of its first rank is shown."""
    groups: dict[object, tuple[ProcessFailure, int, list[int]]] = {}
    for record in records:
        failure = record.failure
        if failure is not None:
            key = (failure.kind, failure.summary_line, failure.call_site, record.steps)
            groups.setdefault(key, (failure, record.steps, []))[2].append(record.rank)
    return tuple(FailureReport(ranks=tuple(ranks), steps=steps, failure=failure) for failure, steps, ranks in groups.values())


def _blocked(records: Iterable[RankRecord]) -> tuple[BlockedReport, ...]:
    """Ranks that wait in the same call from the same line, in the same step, are one."""
    groups: dict[object, list[RankRecord]] = {}
    for record in records:
        if record.blocked is not None:
            key = (record.blocked.call, record.blocked.key, record.blocked.call_site, record.steps)
            groups.setdefault(key, []).append(record)
    return tuple(map(_blocked_report, groups.values()))


def _blocked_report(records: Sequence[RankRecord]) -> BlockedReport:
    first, blocked = records[0], [record.blocked for record in records if record.blocked is not None]
    verb = f"wait{'s' * (len(records) == 1)}"
    if (number := blocked[0].call) is None:
        waiting = f"{verb} for the key {blocked[0].key!r} of a store"
    else:
        call, peers = first.collectives[number], name_ranks({rank for each in blocked for rank in each.waits_for})
        waiting = f"{verb} for {peers} in {describe_call(call)}, {describe_group(call)}"
    return BlockedReport(ranks=tuple(record.rank for record in records), steps=first.steps, call_site=blocked[0].call_site, waiting=waiting)


def _steps_completed(records: Iterable[RankRecord]) -> tuple[int, int]:
    steps = [record.steps for record in records] or [0]
    return min(steps), max(steps)
