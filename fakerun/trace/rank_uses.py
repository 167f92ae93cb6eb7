"""What the program asks of its rank: each test once, by the line that makes it.

Called for every comparison of the rank, hence fast: a place is an instruction of a code object, and a test that was made there before is
recognised by its expression.
"""

import dis
from types import CodeType, FrameType

from fakerun.call_site import CallSite, Owner
from fakerun.records.observer import RankExpression
from fakerun.records.rank_function import Number, RankTest, UnfollowedUse
from fakerun.trace.call_sites import CallSiteFinder

MAX_TESTS_AT_ONE_PLACE = 64
"""More are a loop that looks for the rank: each of them would distinguish a rank from all others."""

MAX_TESTS = 2048

_LOOKUPS = frozenset({"BINARY_SUBSCR", "STORE_SUBSCR", "DELETE_SUBSCR"})
"""Instructions that compare the rank with a key of a dictionary that has its hash: where it is found, not whether. What torch looks up in
this way are peers and buffers, by which it makes calls that are recorded."""


class _Place:
    """An instruction that tested functions of the rank, and what it tested.

    `unfollowed` is how it uses them if none of its tests is recorded; empty if that is harmless.
    """

    def __init__(self, code: CodeType, site: CallSite, unfollowed: str | None) -> None:
        self.code = code  # kept, because its id is the key
        self.site = site
        self.unfollowed = unfollowed
        self.count = 0
        self.tests: dict[int, tuple[RankExpression, Number]] = {}


class RankUseTrace:
    """Implements `RankUseObserver`."""

    def __init__(self, call_sites: CallSiteFinder) -> None:
        self._call_sites = call_sites
        self._places: dict[tuple[int, int], _Place] = {}
        self._tested: list[tuple[_Place, RankExpression, Number]] = []
        self._unfollowed: dict[tuple[str, CallSite | None], int] = {}

    def tested(self, expression: RankExpression, outcome: Number, frame: FrameType) -> None:
        """A test; nothing of fakerun's own code is one."""
        running = self._call_sites.running(frame)
        if running is None or running[1] is Owner.FAKERUN:
            return
        frame = running[0]
        key = (id(frame.f_code), frame.f_lasti)
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = self._new_place(*running)
        if place.unfollowed is not None:
            place.count += 1
        elif id(expression) not in place.tests:
            self._add(place, expression, outcome)

    def unfollowed(self, kind: str, frame: FrameType) -> None:
        """A use that is not followed. What Python's and torch's own code does with a text leads to no other calls."""
        running = self._call_sites.running(frame)
        if running is None or running[1] is Owner.FAKERUN:
            return
        if kind == "text" and (running[1] is Owner.TORCH or running[0] is not frame):
            return
        use = (kind, self._call_sites.site(running[0]))
        self._unfollowed[use] = self._unfollowed.get(use, 0) + 1

    def tests(self) -> tuple[RankTest, ...]:
        """All tests, in order, each once."""
        tests = (
            RankTest(function=expression.function, outcome=outcome, call_site=place.site)
            for place, expression, outcome in self._tested
            if place.unfollowed is None
        )
        return tuple(dict.fromkeys(tests))

    def unfollowed_uses(self) -> tuple[UnfollowedUse, ...]:
        """All uses that are not followed, with those tests that are too many."""
        uses = dict(self._unfollowed)
        for place in self._places.values():
            if place.unfollowed:
                use = (place.unfollowed, place.site)
                uses[use] = uses.get(use, 0) + place.count
        return tuple(UnfollowedUse(kind=kind, call_site=site, count=count) for (kind, site), count in uses.items())

    def _new_place(self, frame: FrameType, whose: Owner) -> _Place:
        code = frame.f_code
        looks_up = dis.opname[code.co_code[frame.f_lasti]] in _LOOKUPS
        unfollowed = ("" if whose is Owner.TORCH else "index") if looks_up else None
        return _Place(code, self._call_sites.site(frame), unfollowed)

    def _add(self, place: _Place, expression: RankExpression, outcome: Number) -> None:
        if len(place.tests) >= MAX_TESTS_AT_ONE_PLACE or len(self._tested) >= MAX_TESTS:
            place.unfollowed = "scan"
            place.count = len(place.tests) + 1
            place.tests.clear()
            return
        place.tests[id(expression)] = expression, outcome
        self._tested.append((place, expression, outcome))
