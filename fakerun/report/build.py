"""From the records of a run to a Report: calls every analysis once for each class of ranks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from fakerun.analysis.classes import RankClass, rank_classes
from fakerun.analysis.duplicate_gpus import duplicate_gpu_findings
from fakerun.analysis.forbidden import forbidden_findings
from fakerun.analysis.matching import matching_findings
from fakerun.analysis.matching.description import describe_call, describe_group
from fakerun.analysis.memory.devices import Devices, devices_of_ranks
from fakerun.analysis.memory.fit import fit_findings
from fakerun.analysis.outcome import added_findings, all_findings, exit_code
from fakerun.analysis.representatives import assumed_records
from fakerun.analysis.traffic import traffic_of
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh, mesh_in_effect
from fakerun.records.findings import Finding
from fakerun.records.run import ProcessFailure, RankRecord, RunRecord
from fakerun.report.build_memory import MemoryOfRun
from fakerun.report.model import BlockedReport, ClassReport, FailureReport, FindingReport, RankReport, Report
from fakerun.units import name_ranks


def build_report(job: JobSpec, run: RunRecord) -> Report:
    """Run every analysis on the records of a run."""
    classes = rank_classes(run.ranks, run.assumed)
    mesh = mesh_in_effect(job.mesh, (record.mesh for record in run.ranks))
    devices = devices_of_ranks(run.ranks, classes, ranks_per_node=job.nproc_per_node)
    memory = MemoryOfRun(job, run, classes, devices)
    ranks = _rank_reports(run, mesh, classes, memory)
    findings = _findings(job, run, devices, memory)
    return Report(
        job=job,
        fakerun_version=run.fakerun_version,
        torch_version=run.torch_version,
        mesh=mesh,
        ranks=ranks,
        devices=memory.reports(),
        classes=_class_reports(classes, ranks, mesh, memory),
        findings=findings,
        grouped_findings=_grouped_findings(findings),
        failures=_failures(run.ranks),
        blocked=_blocked(run.ranks),
        steps_completed=_steps_completed(run.ranks),
        exit_code=exit_code(run.ranks, findings),
    )


def _rank_reports(run: RunRecord, mesh: Mesh | None, classes: Sequence[RankClass], memory: MemoryOfRun) -> tuple[RankReport, ...]:
    """Analyse one rank of each class."""
    records = {record.rank: record for record in run.ranks}
    reports: dict[int, RankReport] = {}
    for each in classes:
        record = records[each.simulated[0]]
        traffic = traffic_of(record.collectives, steps=record.steps)
        for rank in each.simulated:
            reports[rank] = RankReport(record=records[rank], coordinate=_coordinate(mesh, rank), devices=memory.of(rank), traffic=traffic)
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


def _findings(job: JobSpec, run: RunRecord, devices: Mapping[int, Devices], memory: MemoryOfRun) -> tuple[Finding, ...]:
    records = [*run.ranks, *assumed_records(run)]
    return all_findings(
        run.ranks,
        (
            *duplicate_gpu_findings(records, devices, ranks_per_node=job.nproc_per_node),
            *matching_findings(records),
            *fit_findings(memory.physical, job.hardware),
            *forbidden_findings(run.ranks, job.error_on_collective),
            *added_findings(run.added),
            *run.findings,
        ),
    )


def _grouped_findings(findings: Iterable[Finding]) -> tuple[FindingReport, ...]:
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
