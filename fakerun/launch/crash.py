"""Where a rank was when native code killed it, from the report of Python's `faulthandler`.

A rank that crashes writes no record. torch aborts the process for many uses of a device that is missing; the line of the script is then all
that is known.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from fakerun.call_site import CallSite, CallSiteResolver, Owner, owner
from fakerun.job.spec import JobSpec

_CALL = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashSite:
    """The calls that led to the crash, as text, outermost first; and the innermost one in the user's code if there is one."""

    stack: str = ""
    call_site: CallSite | None = None


def crash_site(report: str, job: JobSpec, working_directory: Path) -> CrashSite:
    """What a report of `faulthandler` (innermost call first) says about the script, without fakerun's own calls."""
    found = [match for line in report.splitlines() if (match := _CALL.fullmatch(line)) and _is_of_interest(match["file"])]
    calls = found[::-1]
    if not calls:
        return CrashSite()
    lines = [f'  File "{call["file"]}", line {call["line"]}, in {call["function"]}\n' for call in calls]
    resolver = CallSiteResolver(working_directory, job.script)
    call_site = resolver.innermost((call["file"], int(call["line"]), call["function"]) for call in calls)
    return CrashSite(stack="".join(["Stack (most recent call last):\n", *lines]), call_site=call_site)


def _is_of_interest(file: str) -> bool:
    return not file.startswith("<frozen") and owner(file) is not Owner.FAKERUN
