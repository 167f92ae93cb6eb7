"""Check: one limit that a run was held against, and what was measured. What held is as much a result as what did not."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One budget and its outcome.

    `name` is the budget's key as in a job file (`communication.tp.bytes`), `subject` what was measured (`rank 3`, `cuda:0 of node 0`; empty
    for the run as a whole). `limit` and `measured` are text, formatted once. `source` is where the limit comes from: `fakerun.yaml:12`, or
    an option such as `--max-memory`; empty for one that holds by default. `finding` says why it did not pass; None if it did. `reason` is
    why it is not known whether it did; empty where it is.
    """

    name: str
    subject: str
    limit: str
    measured: str
    passed: bool
    source: str
    finding: Finding | None = None
    reason: str = ""
    is_ignored: bool = False
    """Whether it did not pass, and the budgets allow its finding: it fails nothing."""

    @property
    def is_unknown(self) -> bool:
        """Whether it did not pass because nobody knows whether the limit is kept: a part of the run was not simulated, or is a range."""
        return self.finding is not None and self.finding.code is FindingCode.UNVERIFIED_BUDGET


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a run is held against, as `Check` has it, and the three ways in which that may end."""

    name: str
    text: str
    source: str

    def __str__(self) -> str:
        """As a message names it: `peak_reserved 72.0 GiB (fakerun.yaml:12)`."""
        where = f" ({self.source})" if self.source else ""
        return f"{self.name} {self.text}{where}"

    def kept(self, subject: str, measured: str) -> Check:
        return Check(name=self.name, subject=subject, limit=self.text, measured=measured, passed=True, source=self.source)

    def exceeded(self, subject: str, measured: str, finding: Finding) -> Check:
        return Check(name=self.name, subject=subject, limit=self.text, measured=measured, passed=False, source=self.source, finding=finding)

    def unverified(
        self, subject: str, measured: str, reasons: Iterable[str], *, ranks: Iterable[int] = (), call_site: CallSite | None = None
    ) -> Check:
        """What is measured does not show whether the limit is kept, for these reasons."""
        why = ", and ".join(reasons)
        finding = Finding(
            code=FindingCode.UNVERIFIED_BUDGET,
            message=f"{self} cannot be verified{f' of {subject}' if subject else ''}: {why}",
            ranks=tuple(ranks),
            call_site=call_site,
        )
        return replace(self.exceeded(subject, measured, finding), reason=why)
