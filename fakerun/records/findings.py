"""Finding: one statement to the user. Every analysis returns findings, and every format shows the same ones."""

from dataclasses import dataclass

from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement about the job.

    `message` is one sentence about this case, `hint` what to do about it (None: the report shows no hint; `code.way_out` is the general
    advice); `call_site` is the line in the user's code.
    """

    code: FindingCode
    message: str
    ranks: tuple[int, ...] = ()
    call_site: CallSite | None = None
    hint: str | None = None
    other_call_sites: tuple[CallSite, ...] = ()
    """What the message says of other ranks: the lines that they are at."""

    @property
    def severity(self) -> Severity:
        return self.code.severity
