"""Difference: one statement about what a job does that its baseline does not, or the other way round."""

from dataclasses import dataclass
from enum import StrEnum

from fakerun.call_site import CallSite


class DifferenceKind(StrEnum):
    """What differs."""

    MESH = "mesh"
    RANKS = "ranks"
    """The number of ranks, or their classes."""
    ENDING = "ending"
    CALLS = "calls"
    """Which calls are issued, and in which order."""
    MESSAGES = "messages"
    """The sizes of calls."""
    DEVICES = "devices"
    PARAMETERS = "parameters"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference. `cause` is what may have changed in the program, None where nothing in the records says so.

    `classes` are those of the ranks that it is true of, empty for all; `call_site` is a line of the new run.
    """

    kind: DifferenceKind
    what: str
    cause: str | None = None
    classes: tuple[str, ...] = ()
    call_site: CallSite | None = None

    @property
    def message(self) -> str:
        """`+32 all_gather on dp in backward of layers.* on pp=0: reshard_after_forward changed?`"""
        shown = self.classes if len(self.classes) <= _SHOWN + 1 else (*self.classes[:_SHOWN], f"{len(self.classes) - _SHOWN} others")
        where = f", on {'; '.join(shown)}" if shown else ""
        return f"{self.what}{where}{f': {self.cause}?' if self.cause else ''}"


_SHOWN = 2
"""Classes that are named."""
