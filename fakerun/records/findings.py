"""A Finding: one thing the user should know. Every analysis returns these and every format shows the same ones."""

from dataclasses import dataclass

from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement about the job.

    `message` is one sentence about this case, `hint` what to do about it (by default the report says nothing: `code.way_out` is the
    general advice); `call_site` is the line in the user's code.
    """

    code: FindingCode
    message: str
    ranks: tuple[int, ...] = ()
    call_site: CallSite | None = None
    hint: str | None = None

    @property
    def severity(self) -> Severity:
        return self.code.severity
