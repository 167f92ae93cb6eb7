"""The result of a job: its run, held against its baseline, its budgets and over them those of the command line.

A kept run that is held against the same as before has the same result; its records are not read then.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fakerun.cli.job_outcomes import JobOutcome, KnownOutcome
from fakerun.cli.repository import job_report, job_result
from fakerun.cli.terminal import note

if TYPE_CHECKING:
    from fakerun.analysis.baseline.baseline import Baseline
    from fakerun.job.budgets import Budgets
    from fakerun.job.check_file import CheckJob
    from fakerun.job.spec import JobSpec
    from fakerun.launch.result_cache import KeptRun
    from fakerun.records.run import RunRecord
    from fakerun.report import Report
    from fakerun.report.job_report import JobResult
    from fakerun.report.result import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job of the file, complete, and the baseline that it is held against, if any."""

    asked: "CheckJob"
    spec: "JobSpec"
    baseline: "Baseline | None" = None

    @property
    def name(self) -> str:
        return self.asked.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Makes results of outcomes. `budgets` are those of the command line; with `needs_reports` every result is a whole report."""

    jobs: Mapping[str, PlannedJob]
    budgets: "Budgets"
    needs_reports: bool
    with_history: bool
    with_timeline: bool

    def result(self, name: str, outcome: JobOutcome | KnownOutcome) -> "JobResult":
        """The result of the job of that name."""
        if isinstance(outcome, KnownOutcome):
            return job_result(outcome.result, name=name)
        report = self._report(self.jobs[name], outcome.record)
        if outcome.kept is not None:
            self._keep(name, outcome.kept, report)
        return job_report(report, name=name)

    def known_result(self, name: str, run: "KeptRun") -> "Result | None":
        """The result of a kept run, if it is known, and suffices for what is to be shown."""
        from fakerun.report.result import decode_result

        data = None if self.needs_reports else run.result(self._held_against(name))
        try:
            return None if data is None else decode_result(data)
        except ValueError:  # damaged
            return None

    def _report(self, job: PlannedJob, run: "RunRecord") -> "Report":
        from fakerun.report import build_report
        from fakerun.report.build_comparison import held_against_baseline

        report = build_report(job.spec, run, self.budgets, with_history=self.with_history, with_timeline=self.with_timeline)
        if job.baseline is None or report.failed:
            return report
        budgets, source = self.budgets.over(job.spec.budgets), str(job.asked.baseline)
        return held_against_baseline(report, job.baseline, job.asked.tolerances, budgets, source=source)

    def _keep(self, name: str, run: "KeptRun", result: "Result") -> None:
        from fakerun.report.result import encode_result

        try:
            run.keep_result(self._held_against(name), encode_result(result))
        except ValueError:  # a text in it is not UTF-8
            return
        except OSError as error:
            note(f"the result of {name} is not kept for the next time: {error.filename}: {error.strerror}")

    def _held_against(self, name: str) -> str:
        """All that the result of a run depends on beside the run, as text: two that differ in anything are different texts."""
        job = self.jobs[name]
        return repr((job.spec, self.budgets, job.baseline, str(job.asked.baseline), job.asked.tolerances))
