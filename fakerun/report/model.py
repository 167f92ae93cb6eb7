"""The Report: one job's run with everything the analyses found. Renderers read this and compute nothing of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fakerun.analysis.classes import RankClass, rank_classes
from fakerun.analysis.fit import MemoryFit, fit_findings, memory_fit
from fakerun.analysis.forbidden import forbidden_findings
from fakerun.analysis.matching import matching_findings
from fakerun.analysis.memory import MemoryFootprint, footprint_of
from fakerun.analysis.outcome import added_findings, all_findings, exit_code
from fakerun.analysis.representatives import assumed_records
from fakerun.analysis.traffic import Traffic, traffic_of
from fakerun.errors import ExitCode
from fakerun.job.spec import JobSpec
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord, RunRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class RankReport:
    """One simulated rank. `coordinate` is the record's, else the rank's place on the job's mesh (a rank may fail before it has one)."""

    record: RankRecord
    coordinate: Mapping[str, int]
    memory: MemoryFootprint
    fit: MemoryFit
    traffic: Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a renderer needs to know. `mesh` maps axis to size, empty without a mesh; `ranks` are those simulated, in order.

    Every simulated rank is in one of the `classes`; the reports of a class's ranks differ in number, coordinate and record alone.
    """

    job: JobSpec
    fakerun_version: str
    torch_version: str | None
    mesh: Mapping[str, int]
    ranks: tuple[RankReport, ...]
    classes: tuple[RankClass, ...]
    findings: tuple[Finding, ...]
    exit_code: ExitCode

    @property
    def failed(self) -> tuple[RankReport, ...]:
        return tuple(rank for rank in self.ranks if rank.record.failure is not None)

    @property
    def largest(self) -> RankReport | None:
        """The rank with the highest peak, the first of equals: the one to show in detail."""
        return max(self.ranks, key=lambda rank: rank.memory.peak_bytes, default=None)


def build_report(job: JobSpec, run: RunRecord) -> Report:
    """Runs every analysis on the records of a run."""
    classes = rank_classes(run.ranks, run.assumed)
    ranks = _rank_reports(job, run, classes)
    findings = all_findings(
        (rank.record for rank in ranks),
        (
            *matching_findings([*run.ranks, *assumed_records(run)]),
            *fit_findings({rank.record.rank: rank.memory for rank in ranks}, job.hardware),
            *forbidden_findings((rank.record for rank in ranks), job.error_on_collective),
            *added_findings(run.added),
            *run.findings,
        ),
    )
    return Report(
        job=job,
        fakerun_version=run.fakerun_version,
        torch_version=run.torch_version,
        mesh=_mesh(job, run),
        ranks=ranks,
        classes=classes,
        findings=findings,
        exit_code=exit_code((rank.record for rank in ranks), findings),
    )


def _rank_reports(job: JobSpec, run: RunRecord, classes: Sequence[RankClass]) -> tuple[RankReport, ...]:
    """Analyses one rank of each class."""
    records = {record.rank: record for record in run.ranks}
    reports: dict[int, RankReport] = {}
    for each in classes:
        first = _rank_report(job, records[each.simulated[0]])
        for rank in each.simulated:
            reports[rank] = replace(first, record=records[rank], coordinate=_coordinate(job, records[rank]))
    return tuple(reports[rank] for rank in sorted(reports))


def _coordinate(job: JobSpec, record: RankRecord) -> Mapping[str, int]:
    return record.coordinate or (job.mesh.coordinate(record.rank) if job.mesh else {})


def _rank_report(job: JobSpec, record: RankRecord) -> RankReport:
    memory = footprint_of(record.memory)
    return RankReport(
        record=record,
        coordinate=_coordinate(job, record),
        memory=memory,
        fit=memory_fit(memory, job.hardware),
        traffic=traffic_of(record.collectives, steps=record.steps),
    )


def _mesh(job: JobSpec, run: RunRecord) -> Mapping[str, int]:
    """The job's mesh if it names its axes; else the first that a rank had in effect, for a script's own names go before ours."""
    asked = dict(zip(job.mesh.axes, job.mesh.sizes, strict=True)) if job.mesh else {}
    if job.mesh and job.mesh.named:
        return asked
    return next((record.mesh for record in run.ranks if record.mesh), asked)
