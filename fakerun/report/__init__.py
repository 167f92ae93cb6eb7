"""From the records of a run to something to read: records -> Report (`build`) -> page (`page`) -> text (`formats`).

Importing this room is cheap; what costs is imported when a format is written.
"""

from fakerun.report.build import build_report
from fakerun.report.formats import FORMATS
from fakerun.report.formats.report_format import ReportFormat
from fakerun.report.job_report import JobReport
from fakerun.report.model import Comparison, Report

__all__ = ["FORMATS", "Comparison", "JobReport", "Report", "ReportFormat", "build_report"]
