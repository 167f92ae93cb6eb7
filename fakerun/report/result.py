"""Result: what a report says without the records of ranks. The page about several jobs and the formats for CI show no more.

A result is small, and can be kept with the run that it is of: `encode_result`, `decode_result`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Protocol

from fakerun.analysis.budgets.check import Check
from fakerun.analysis.memory.fit import MemoryFit
from fakerun.analysis.time.estimate import StepFigures
from fakerun.errors import ExitCode
from fakerun.job.spec import JobSpec
from fakerun.records.finding_code import FindingCode, Severity
from fakerun.records.findings import Finding
from fakerun.report.model import BlockedReport, FailureReport, FindingReport

if TYPE_CHECKING:
    from pydantic import TypeAdapter


class Result(Protocol):
    """What a run came to: a `Report`, or a `KeptResult`. What is not said here is as in `Report`.

    `simulated` and `failed_ranks` are ranks, `assumed_count` is how many are taken to behave as simulated ones. `stopped_after` is how
    many steps were completed when the script was stopped, None if it was not. `fit` is the verdict on the device with the least headroom,
    all its ranks counted, None if nothing was allocated; `bus_bytes_per_step` the most that a rank has in its last completed step, None if
    no rank completed one. `step_figures` is None where no step time is known.
    """

    @property
    def job(self) -> JobSpec: ...
    @property
    def fakerun_version(self) -> str: ...
    @property
    def torch_version(self) -> str | None: ...
    @property
    def findings(self) -> tuple[Finding, ...]: ...
    @property
    def grouped_findings(self) -> tuple[FindingReport, ...]: ...
    @property
    def failures(self) -> tuple[FailureReport, ...]: ...
    @property
    def blocked(self) -> tuple[BlockedReport, ...]: ...
    @property
    def checks(self) -> tuple[Check, ...]: ...
    @property
    def ignored_findings(self) -> Mapping[FindingCode, int]: ...
    @property
    def failing(self) -> tuple[Severity, ...]: ...
    @property
    def exit_code(self) -> ExitCode: ...
    @property
    def simulated(self) -> tuple[int, ...]: ...
    @property
    def failed_ranks(self) -> tuple[int, ...]: ...
    @property
    def assumed_count(self) -> int: ...
    @property
    def stopped_after(self) -> int | None: ...
    @property
    def fit(self) -> MemoryFit | None: ...
    @property
    def bus_bytes_per_step(self) -> int | None: ...
    @property
    def step_figures(self) -> StepFigures | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptResult:
    """A `Result` by itself."""

    job: JobSpec
    fakerun_version: str
    torch_version: str | None
    findings: tuple[Finding, ...]
    grouped_findings: tuple[FindingReport, ...]
    failures: tuple[FailureReport, ...]
    blocked: tuple[BlockedReport, ...]
    checks: tuple[Check, ...]
    ignored_findings: Mapping[FindingCode, int]
    failing: tuple[Severity, ...]
    exit_code: ExitCode
    simulated: tuple[int, ...]
    failed_ranks: tuple[int, ...]
    assumed_count: int
    stopped_after: int | None
    fit: MemoryFit | None
    bus_bytes_per_step: int | None
    step_figures: StepFigures | None = None


def kept_result(result: Result) -> KeptResult:
    """The result without anything else."""
    return KeptResult(
        job=result.job,
        fakerun_version=result.fakerun_version,
        torch_version=result.torch_version,
        findings=result.findings,
        grouped_findings=result.grouped_findings,
        failures=result.failures,
        blocked=result.blocked,
        checks=result.checks,
        ignored_findings=result.ignored_findings,
        failing=result.failing,
        exit_code=result.exit_code,
        simulated=result.simulated,
        failed_ranks=result.failed_ranks,
        assumed_count=result.assumed_count,
        stopped_after=result.stopped_after,
        fit=result.fit,
        bus_bytes_per_step=result.bus_bytes_per_step,
        step_figures=result.step_figures,
    )


def fails(result: Result, finding: Finding) -> bool:
    """Whether the finding fails the run: by its severity, or because a check did not pass for findings of its code."""
    return finding.severity in result.failing or any(
        check.finding is not None and check.finding.code is finding.code and not check.is_ignored for check in result.checks
    )


@cache
def _adapter() -> "TypeAdapter[KeptResult]":
    # Imported on use: it is slow to import, and not every command reads results.
    from pydantic import TypeAdapter

    return TypeAdapter(KeptResult)


def encode_result(result: Result) -> bytes:
    """The result as bytes.

    Raises:
        ValueError: a text in it is not UTF-8.
    """
    return _adapter().dump_json(kept_result(result))


def decode_result(data: bytes) -> KeptResult:
    """The result that this version of fakerun encoded.

    Raises:
        ValueError: the bytes are none.
    """
    return _adapter().validate_json(data)
