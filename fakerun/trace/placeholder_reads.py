"""Where the program read values that nobody computed, and who called it: what a failure may follow from."""

from fakerun.records.placeholder_read import PlaceholderRead
from fakerun.syntax.dependence import Reads
from fakerun.syntax.frames import program_frames
from fakerun.syntax.places import Place
from fakerun.trace.program_point import ProgramPoint

_CALLERS = 12
"""How many calls a value is followed through, from the read to the check."""
_MOST = 4096
"""How many different reads are kept: a loop adds none."""


class PlaceholderReads:
    """Keeps each read once, with the calls that led to it. Implements `ReadObserver` (fakerun.records.observer)."""

    def __init__(self, point: ProgramPoint) -> None:
        self._point = point
        self._reads: dict[tuple[Place, ...], PlaceholderRead] = {}

    def placeholder_read(self, what: str, *, reason: str, way_round: str) -> None:
        places = tuple(map(Place.of, program_frames(_CALLERS)))
        if places not in self._reads and len(self._reads) < _MOST:
            self._reads[places] = PlaceholderRead(call_site=self._point.call_site(), what=what, reason=reason, way_round=way_round)

    def records(self) -> Reads[PlaceholderRead]:
        """All reads up to now."""
        return Reads(self._reads.items())
