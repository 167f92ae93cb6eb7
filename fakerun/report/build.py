"""From the records of a run to a Report: calls every analysis once for each class of ranks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fakerun.analysis.breakdown import by_category, by_module, by_tensor
from fakerun.analysis.classes import RankClass, rank_classes
from fakerun.analysis.fit import fit_findings, memory_fit
from fakerun.analysis.forbidden import forbidden_findings
from fakerun.analysis.matching import matching_findings
from fakerun.analysis.memory import footprint_of
from fakerun.analysis.outcome import added_findings, all_findings, exit_code
from fakerun.analysis.representatives import assumed_records
from fakerun.analysis.traffic import traffic_of
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh, mesh_in_effect
from fakerun.records.findings import Finding
from fakerun.records.memory import MemoryTimeline
from fakerun.records.run import ProcessFailure, RankRecord, RunRecord
from fakerun.report.model import ClassReport, DeviceMemory, FailureReport, FindingReport, RankReport, Report

if TYPE_CHECKING:
    from fakerun.call_site import CallSite


def build_report(job: JobSpec, run: RunRecord) -> Report:
    """Run every analysis on the records of a run."""
    classes = rank_classes(run.ranks, run.assumed)
    mesh = mesh_in_effect(job.mesh, (record.mesh for record in run.ranks))
    ranks = _rank_reports(job, run, mesh, classes)
    findings = _findings(job, run, ranks)
    return Report(
        job=job,
        fakerun_version=run.fakerun_version,
        torch_version=run.torch_version,
        mesh=mesh,
        ranks=ranks,
        classes=_class_reports(classes, ranks, mesh),
        findings=findings,
        grouped_findings=_grouped_findings(findings),
        failures=_failures(run.ranks),
        steps_completed=_steps_completed(run.ranks),
        exit_code=exit_code(run.ranks, findings),
    )


def _rank_reports(job: JobSpec, run: RunRecord, mesh: Mesh | None, classes: Sequence[RankClass]) -> tuple[RankReport, ...]:
    """Analyse one rank of each class."""
    records = {record.rank: record for record in run.ranks}
    reports: dict[int, RankReport] = {}
    for each in classes:
        first = _rank_report(job, mesh, records[each.simulated[0]])
        for rank in each.simulated:
            reports[rank] = replace(first, record=records[rank], coordinate=_coordinate(mesh, rank))
    return tuple(reports[rank] for rank in sorted(reports))


def _rank_report(job: JobSpec, mesh: Mesh | None, record: RankRecord) -> RankReport:
    return RankReport(
        record=record,
        coordinate=_coordinate(mesh, record.rank),
        devices=(_device_memory(job, record.memory),),
        traffic=traffic_of(record.collectives, steps=record.steps),
    )


def _device_memory(job: JobSpec, timeline: MemoryTimeline) -> DeviceMemory:
    footprint = footprint_of(timeline)
    return DeviceMemory(
        cuda_index=None,
        footprint=footprint,
        fit=memory_fit(footprint, job.hardware),
        categories=by_category(footprint.alive_at_peak),
        modules=by_module(footprint.alive_at_peak),
        tensors=by_tensor(footprint.alive_at_peak),
    )


def _coordinate(mesh: Mesh | None, rank: int) -> Mapping[str, int]:
    return {} if mesh is None else mesh.by_axis(mesh.coordinate(rank))


def _class_reports(classes: Sequence[RankClass], ranks: Iterable[RankReport], mesh: Mesh | None) -> tuple[ClassReport, ...]:
    reports = {rank.record.rank: rank for rank in ranks}
    return tuple(_class_report(each, reports[each.simulated[0]], mesh) for each in classes)


def _class_report(each: RankClass, example: RankReport, mesh: Mesh | None) -> ClassReport:
    volumes = example.traffic.total
    return ClassReport(
        simulated=each.simulated,
        assumed=each.assumed,
        example=example,
        mesh_box=None if mesh is None else mesh.box(each.ranks),
        last_step=volumes.per_step[-1] if volumes.per_step else volumes.after,
    )


def _findings(job: JobSpec, run: RunRecord, ranks: Sequence[RankReport]) -> tuple[Finding, ...]:
    return all_findings(
        run.ranks,
        (
            *matching_findings([*run.ranks, *assumed_records(run)]),
            *fit_findings({rank.record.rank: rank.largest_device.footprint for rank in ranks}, job.hardware),
            *forbidden_findings(run.ranks, job.error_on_collective),
            *added_findings(run.added),
            *run.findings,
        ),
    )


def _grouped_findings(findings: Iterable[Finding]) -> tuple[FindingReport, ...]:
    places: dict[Finding, list[CallSite]] = {}
    for finding in findings:
        here = places.setdefault(replace(finding, call_site=None), [])
        here += [finding.call_site] if finding.call_site else []
    return tuple(FindingReport(finding=finding, call_sites=tuple(here)) for finding, here in places.items())


def _failures(records: Iterable[RankRecord]) -> tuple[FailureReport, ...]:
    """Failures with the same message at the same place in the same step are one; the traceback of its first rank is shown."""
    alike: dict[object, tuple[ProcessFailure, int, list[int]]] = {}
    for record in records:
        failure = record.failure
        if failure is not None:
            key = (failure.kind, failure.in_a_line, failure.call_site, record.steps)
            alike.setdefault(key, (failure, record.steps, []))[2].append(record.rank)
    return tuple(FailureReport(ranks=tuple(ranks), steps=steps, failure=failure) for failure, steps, ranks in alike.values())


def _steps_completed(records: Iterable[RankRecord]) -> tuple[int, int]:
    steps = [record.steps for record in records] or [0]
    return min(steps), max(steps)
