"""Check: one limit that a run was held against, and what was measured. What held is as much a result as what did not."""

from dataclasses import dataclass

from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One budget and its outcome.

    `name` is the budget's key as in a job file (`communication.tp.bytes`), `subject` what was measured (`rank 3`, `cuda:0 of node 0`; empty
    for the run as a whole). `limit` and `measured` are text, formatted once. `source` is where the limit comes from: `fakerun.yaml:12`, or
    an option such as `--max-memory`; empty for one that holds by default. `finding` says why it did not pass; None if it did.
    """

    name: str
    subject: str
    limit: str
    measured: str
    passed: bool
    source: str
    finding: Finding | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether it did not pass because nobody knows whether the limit is kept: a part of the run was not simulated, or is a range."""
        return self.finding is not None and self.finding.code is FindingCode.UNVERIFIED_BUDGET
