"""A Finding: one thing the user should know, with its severity. Every analysis returns these and every renderer shows the same ones."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error makes the command exit with 1; a note only informs."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One statement about the job.

    `code` is a stable kebab-case identifier (`does-not-fit`, `unknown-value`, `mesh-resized`); `message` is one sentence;
    `call_site` is `file:line` in the user's code; `hint` says what to do.
    """

    code: str
    severity: Severity
    message: str
    ranks: tuple[int, ...] = ()
    call_site: str | None = None
    hint: str | None = None
