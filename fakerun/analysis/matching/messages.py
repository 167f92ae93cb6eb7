"""Messages: each send needs its receive, of the same size and dtype; per sender, receiver, group and tag they meet in order.

NCCL has no tags (ProcessGroupNCCL::send leaves its argument unused): on a GPU, messages between two ranks meet in the order of their calls.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fakerun.analysis.matching.cast import Cast, Family
from fakerun.analysis.matching.difference import Difference
from fakerun.analysis.matching.endings import FAILED_HINT, UNEVEN_HINT, failed_at, failure_of, uneven_steps
from fakerun.analysis.matching.signature import MISMATCHES, first_difference
from fakerun.analysis.matching.traces import Stream, View, Way
from fakerun.analysis.matching.words import at, who
from fakerun.records.finding_code import FindingCode

_UNMATCHED = frozenset({FindingCode.SEND_WITHOUT_RECV, FindingCode.RECV_WITHOUT_SEND})


def message_differences(cast: Cast, family: Family) -> Iterator[Difference]:
    """What is wrong with the messages of a group: of each pair of members the first thing, as the rest follows from it."""
    places: dict[tuple[View, View, Way], list[int]] = defaultdict(list)
    size = len(family.pattern)
    for place, view in enumerate(family.pattern):
        for way in view.messages if view is not None else ():
            other = family.pattern[(place + way.distance) % size]
            # What both sides know of is compared when the sender has its turn.
            if view is not None and other is not None and (way.sends or way.back(size) not in other.messages):
                places[view, other, way].append(place)
    for (_, _, way), senders in places.items():
        yield from _Channel(cast, family, senders, way).differences()


class _Channel:
    """The messages that members send or receive one way: those in `places`, who do the same. The first speaks for all."""

    def __init__(self, cast: Cast, family: Family, places: Sequence[int], way: Way) -> None:
        self._cast, self._family, self._way = cast, family, way
        size = len(family.pattern)
        self._here, self._there = places[0], (places[0] + way.distance) % size
        self._alike = [place - places[0] for place in places]
        mine, other = family.pattern[self._here], family.pattern[self._there]
        assert mine is not None
        assert other is not None
        self._mine, self._other = mine, other
        self._rank, self._peer = family.group.ranks[self._here], family.group.ranks[self._there]
        self._ours, self._theirs = mine.messages[way], other.messages.get(way.back(size))

    def differences(self) -> Iterator[Difference]:
        ours, theirs = self._ours.numbers, self._theirs.numbers if self._theirs is not None else ()
        shorter = min(len(ours), len(theirs))
        number = next((number for number in range(shorter) if ours[number] != theirs[number]), shorter)
        if _has_one_more(ours, theirs, number):
            if not self._other.from_anybody or not self._way.sends:
                yield self._unmatched(number, self._here, self._ours)
        elif self._theirs is not None and _has_one_more(theirs, ours, number):
            if not self._mine.from_anybody:
                yield self._unmatched(number, self._there, self._theirs)
        elif number < shorter:
            yield self._unequal(number)

    def _unequal(self, number: int) -> Difference:
        assert self._theirs is not None
        assert self._way.sends
        sent, received = self._ours.kinds[number].signature, self._theirs.kinds[number].signature
        kind = first_difference(sent, received)
        gives, takes = (sent.dtype, received.dtype) if kind == "dtype" else (f"{sent.counts[0]} elements", f"{received.counts[0]}")
        send = self._cast.record(self._rank, self._ours.calls[number])
        receive = self._cast.record(self._peer, self._theirs.calls[number])
        ranks = self._ranks(self._here) | self._ranks(self._there)
        return Difference(
            code=MISMATCHES[kind],
            message=f"{self._name(number)} is sent with {gives}{at(send)} and received as {takes}{at(receive)}",
            hint="Send and receive the same number of elements of the same dtype.",
            call_site=send.call_site,
            usual_site=receive.call_site,
            odd=ranks,
            named=ranks,
            groups=self._family.groups,
            rank=self._rank,
            position=number,
            order=self._ours.calls[number],
            way=self._way,
            astray=False,
        )

    def _unmatched(self, number: int, place: int, stream: Stream) -> Difference:
        """A message of the member in `place`, which the other side knows nothing of."""
        other_place = self._there if place == self._here else self._here
        acting, other = (self._family.group.ranks[each] for each in (place, other_place))
        index = stream.calls[number]
        record = self._cast.record(acting, index)
        way = self._way if place == self._here else self._way.back(len(self._family.pattern))
        code, message, hint = self._told(number, acting, other, record.step, way)
        failed = code is FindingCode.EARLY_EXIT
        return Difference(
            code=code,
            message=message.format(name=self._name(number), acting=acting, line=at(record), other=other),
            hint=hint.format(other=other),
            call_site=(failed_at(self._cast, other) if failed else None) or record.call_site,
            usual_site=record.call_site,
            odd=self._ranks(other_place),
            named=self._ranks(other_place) | (self._ranks(place) if code in _UNMATCHED else frozenset()),
            groups=self._family.groups,
            rank=acting,
            position=number,
            since=_first_like_it(stream.numbers, number),
            order=index,
            way=way,
            failure=failure_of(self._cast, other) if failed else None,
        )

    def _told(self, number: int, acting: int, other: int, step: int, way: Way) -> tuple[FindingCode, str, str]:
        """Code, statement and hint: what explains that the other side is missing."""
        waits = "{name}, on rank {acting}{line}, waits for ever"
        if failure_of(self._cast, other) is not None:
            return FindingCode.EARLY_EXIT, f"rank {{other}} failed: {waits}", FAILED_HINT
        uneven = uneven_steps(self._cast, acting, other, step, None)
        if uneven is not None:
            return FindingCode.UNEVEN_STEPS, f"{uneven.format(who=who([other]), s='s')}: {waits}", UNEVEN_HINT
        code, missing = (FindingCode.SEND_WITHOUT_RECV, "receive") if way.sends else (FindingCode.RECV_WITHOUT_SEND, "send")
        return code, f"{{name}}, on rank {{acting}}{{line}}, has no {missing} on rank {{other}}", f"Add the {missing} on rank {{other}}, with the same group and tag."  # fmt: skip # noqa: E501

    def _ranks(self, place: int) -> frozenset[int]:
        size = len(self._family.pattern)
        return frozenset(group.ranks[(place + away) % size] for group in self._family.groups for away in self._alike)

    def _name(self, number: int) -> str:
        source, target = (self._rank, self._peer) if self._way.sends else (self._peer, self._rank)
        return f"message {number} from rank {source} to rank {target}"


def _has_one_more(longer: Sequence[int], shorter: Sequence[int], number: int) -> bool:
    """Whether the one side has a message there that the other has not, after which both go on alike for as long as the other does."""
    return len(longer) > len(shorter) and longer[number + 1 : len(shorter) + 1] == shorter[number:]


def _first_like_it(numbers: Sequence[int], number: int) -> int:
    """Of messages that are alike, one after the other, nobody can say which has been left out."""
    return next((before + 1 for before in range(number - 1, -1, -1) if numbers[before] != numbers[number]), 0)
