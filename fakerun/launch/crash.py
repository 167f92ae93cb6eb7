"""Where a rank was when native code killed it: what Python's `faulthandler` left behind, read.

A rank that crashes can write no record. torch aborts a process rather often for a device that it lacks, and then the line in the
script is all there is to go by.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import fakerun
from fakerun.job.spec import JobSpec

_OURS = Path(fakerun.__file__).parent
_CALL = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)')
_INSTALLED = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashSite:
    """The calls that led to the crash, as text, outermost first; and the innermost one in the user's code as `file:line`."""

    stack: str = ""
    call_site: str | None = None


def crash_site(report: str, job: JobSpec, working_directory: Path) -> CrashSite:
    """What a report of `faulthandler` (innermost call first) says about the script, without fakerun's own calls."""
    calls = [match for line in report.splitlines() if (match := _CALL.fullmatch(line)) and _is_of_interest(match["file"])]
    if not calls:
        return CrashSite()
    lines = [f'  File "{call["file"]}", line {call["line"]}, in {call["function"]}\n' for call in reversed(calls)]
    bases = (working_directory, working_directory if job.script is None else working_directory / job.script.parent)
    sites = (f"{name}:{call['line']}" for call in calls if (name := _users_name(call["file"], bases)) is not None)
    return CrashSite(stack="".join(["Stack (most recent call last):\n", *lines]), call_site=next(sites, None))


def _is_of_interest(file: str) -> bool:
    return not file.startswith("<frozen") and not Path(file).is_relative_to(_OURS)


def _users_name(file: str, bases: tuple[Path, ...]) -> str | None:
    """The file's name, relative to the directory that it lies under; None when it is not the user's."""
    path = Path(file)
    if any(part in _INSTALLED for part in path.parts):
        return None
    return next((str(path.relative_to(base)) for base in bases if path.is_relative_to(base)), None)
