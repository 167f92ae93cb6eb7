"""JobReport: a report under the name of its job, with the place in the repository of each file that it names."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fakerun.report.model import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReport:
    """The report of one job, of those that a command ran.

    `paths` leads from a file as a call site shows it, and from the program, to its path in the repository, with slashes; it lacks files
    that are outside the repository or not there. It is what annotations of a pull request need.
    """

    name: str
    report: Report
    paths: Mapping[str, str] = field(default_factory=dict)
