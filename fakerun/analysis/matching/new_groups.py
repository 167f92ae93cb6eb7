"""The groups that ranks make: all that must make them make the same ones in the same order, whether they are in them or not.

torch names groups by counting them: what one rank leaves out moves the names of all its later groups, and whoever makes a group waits for
the others that must.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fakerun.analysis.matching.cast import Cast
from fakerun.analysis.matching.diagnosis import parting_of
from fakerun.analysis.matching.difference import Difference
from fakerun.analysis.matching.endings import FAILED_HINT, UNEVEN_HINT, failed_at, failure_of
from fakerun.analysis.matching.traces import Numbers
from fakerun.analysis.matching.words import who
from fakerun.records.finding_code import FindingCode
from fakerun.records.run import GroupCreation

NEW_GROUP_HINT = "Call new_group on every rank for every group, those of others too, in one order and with the same ranks."

Makers = tuple[int, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """Groups in order: of each the number of its ranks (equal ranks, equal numbers) and which call of new_group made it."""

    groups: tuple[int, ...]
    calls: tuple[GroupCreation, ...]


class _Books:
    """What ranks made, by who must make it; once for records that are one object."""

    def __init__(self) -> None:
        self.ranks = Numbers()
        self._by_record: dict[int, Mapping[Makers, _Made]] = {}

    def of(self, made: tuple[GroupCreation, ...]) -> Mapping[Makers, _Made]:
        found = self._by_record.get(id(made))
        if found is None:
            found = self._by_record[id(made)] = self._sorted(made)
        return found

    def _sorted(self, made: tuple[GroupCreation, ...]) -> Mapping[Makers, _Made]:
        groups: dict[Makers, list[tuple[int, GroupCreation]]] = defaultdict(list)
        for call in made:
            size = len(call.ranks) // call.count
            for start in range(0, call.count * size, size or 1):
                groups[call.callers].append((self.ranks[call.ranks[start : start + size]], call))
        return {callers: _Made(tuple(number for number, _ in each), tuple(call for _, call in each)) for callers, each in groups.items()}


def new_group_differences(cast: Cast) -> Iterator[Difference]:
    """For each set of ranks that must make groups together, the first group that they do not make alike."""
    books = _Books()
    made = {rank: books.of(seat.record.group_creations) for rank, seat in cast.seats.items()}
    distinct = {id(each): each for each in made.values()}
    nothing = _Made((), ())
    for callers in dict.fromkeys(callers for each in distinct.values() for callers in each):
        those = [rank for rank in (cast.seats if callers is None else callers) if rank in cast.seats]
        by_rank = {rank: made[rank].get(callers, nothing) for rank in those}
        first, *others = {each.groups for each in by_rank.values()}
        position = min((parting for other in others if (parting := parting_of(first, other)) is not None), default=None)
        if position is not None:
            yield _difference(cast, by_rank, position, {number: ranks for ranks, number in books.ranks.items()})


def _difference(cast: Cast, made: Mapping[int, _Made], position: int, ranks_of: Mapping[int, object]) -> Difference:
    here: dict[int | None, list[int]] = defaultdict(list)
    for rank, each in made.items():
        here[each.groups[position] if position < len(each.groups) else None].append(rank)
    ordered = sorted(here.items(), key=lambda item: (item[0] is None, -len(item[1]), item[1][0]))
    (_, usual), (_, odd) = ordered[0], ordered[1]
    agreed = len(usual) > max(len(ranks) for _, ranks in ordered[1:])
    named = frozenset(made) - frozenset(usual) if agreed else frozenset(made)
    expected = made[usual[0]].calls[position]
    found = made[odd[0]].calls[position] if position < len(made[odd[0]].calls) else None
    code, failure, hint = _cause(cast, usual[0], odd[0], over=found is None)
    ways = "; ".join(f"{who(ranks)}: {_told(made[ranks[0]], position, number, ranks_of)}" for number, ranks in reversed(ordered))
    return Difference(
        code=code,
        message=f"{_statement(code, who(named), position)}. {ways}",
        hint=hint,
        call_site=(failed_at(cast, odd[0]) if failure else None) or (found or expected).call_site,
        usual_site=expected.call_site,
        odd=named,
        named=named,
        groups=(),
        rank=usual[0],
        position=position,
        order=expected.before,
        failure=failure,
        blocked={rank: each.calls[position].before if position < len(each.calls) else _end(cast, rank) for rank, each in made.items()},
    )


def _cause(cast: Cast, usual: int, odd: int, *, over: bool) -> tuple[FindingCode, str | None, str]:
    """Code, the failure that explains it, and hint."""
    failure = failure_of(cast, odd) if over else None
    if failure is not None:
        return FindingCode.EARLY_EXIT, failure, FAILED_HINT
    if over and cast.seats[odd].record.steps < cast.seats[usual].record.steps:
        return FindingCode.UNEVEN_STEPS, None, UNEVEN_HINT
    return FindingCode.GROUP_MISMATCH, None, NEW_GROUP_HINT


def _statement(code: FindingCode, ranks: str, position: int) -> str:
    if code is FindingCode.EARLY_EXIT:
        return f"{ranks} failed: at new group {position} the others wait for ever"
    if code is FindingCode.UNEVEN_STEPS:
        return f"{ranks} completes fewer steps: at new group {position} the others wait for ever"
    return f"ranks do not make the same groups in the same order: they part at new group {position}"


def _told(made: _Made, position: int, number: int | None, ranks_of: Mapping[int, object]) -> str:
    if number is None:
        return "no further group"
    ranks: Sequence[int] = ranks_of[number]  # type: ignore[assignment]
    site = made.calls[position].call_site
    return f"a group of {who(ranks)}{f' at {site}' if site else ''}"


def _end(cast: Cast, rank: int) -> int:
    return len(cast.seats[rank].calls)
