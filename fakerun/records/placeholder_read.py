"""PlaceholderRead: a line of the program that reads a value which nobody computed."""

from dataclasses import dataclass

from fakerun.call_site import CallSite


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceholderRead:
    """One read: where, of what ("the value of a device tensor"), why it is not known, and what the user can do about it."""

    call_site: CallSite | None
    what: str
    reason: str
    way_round: str

    def __str__(self) -> str:
        return f"{self.call_site or 'an unknown line'} reads {self.what}, {self.reason}"
