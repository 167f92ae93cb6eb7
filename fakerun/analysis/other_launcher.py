"""Failures of a script that was written for another launcher than the job's: it reads variables that are not there."""

import re
from collections.abc import Iterable, Iterator

from fakerun.job.launcher import Launcher
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import FailureKind, RankRecord

_VARIABLE = re.compile(r"""["']([A-Z][A-Z0-9_]*)["']""")
_FRAME = re.compile(r'^  File "', re.MULTILINE)


def other_launcher_findings(ranks: Iterable[RankRecord], launcher: Launcher) -> Iterator[Finding]:
    """One `other-launcher` for each rank whose last line, or whose exception, names a variable that only another launcher sets."""
    for rank in ranks:
        failure = rank.failure
        if failure is None or failure.kind is not FailureKind.EXCEPTION:
            continue
        innermost = _FRAME.split(failure.traceback)[-1]
        for name in _VARIABLE.findall(f"{innermost}\n{failure.message}"):
            if (other := _only_of(name)) not in (None, launcher):
                yield Finding(
                    code=FindingCode.OTHER_LAUNCHER,
                    message=f"the script reads {name}, which {launcher} does not set.",
                    ranks=(rank.rank,),
                    call_site=failure.call_site,
                    hint=f"Run it with --launcher {other}.",
                )
                break


def _only_of(variable: str) -> Launcher | None:
    return next((launcher for launcher in Launcher if variable.startswith(launcher.prefixes)), None)
