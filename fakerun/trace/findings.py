"""The findings of a rank, each kept once, with the line that caused it."""

from typing import TYPE_CHECKING

from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.journal import Event, Journal
from fakerun.trace.program_point import ProgramPoint

if TYPE_CHECKING:
    from fakerun.call_site import CallSite


class FindingTrace:
    """Keeps one finding for each code, subject and call site. Implements `FindingSink` (fakerun.records.observer)."""

    def __init__(self, point: ProgramPoint, rank: int, journal: Journal) -> None:
        self._journal = journal
        self._point = point
        self._rank = rank
        self._findings: dict[tuple[FindingCode, str, CallSite | None], Finding] = {}

    def note(self, code: FindingCode, message: str, *, hint: str | None = None, subject: str = "") -> None:
        call_site = self._point.call_site()
        finding = Finding(code=code, message=message, ranks=(self._rank,), call_site=call_site, hint=hint)
        if self._findings.setdefault((code, subject, call_site), finding) is finding:
            self._journal.event(Event.FINDING, finding)

    def records(self) -> tuple[Finding, ...]:
        """All findings up to now, in order."""
        return tuple(self._findings.values())
