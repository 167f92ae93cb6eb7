"""Collectives of one group, position by position, on all members: the first position where they part, and how.

The reference is what most members do, never a particular rank. Behind the first difference nothing is compared: it would be consequences.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fakerun.analysis.matching.cast import Cast, Family
from fakerun.analysis.matching.diagnosis import Diagnosis, Parting, diagnosis_of, parting_of
from fakerun.analysis.matching.difference import Difference
from fakerun.analysis.matching.endings import FAILED_HINT, UNEVEN_HINT, failed_at, failure_of, uneven_steps
from fakerun.analysis.matching.signature import MISMATCHES, first_difference
from fakerun.analysis.matching.traces import Stream, View
from fakerun.analysis.matching.words import call, on, who
from fakerun.records.finding_code import FindingCode

_SAME_CALLS = "Let every rank of the group make the same calls in the same order: look for a branch that depends on rank or data."

_HINTS = {
    "operation": _SAME_CALLS,
    "root": "Every rank must name the same root, as a global rank.",
    "reduce-op": "Every rank must reduce with the same operation.",
    "dtype": "Bring the tensor to one dtype on every rank before the call.",
    "size": "Bring the tensor to one size on every rank, pad it, or exchange the sizes first.",
}

_IN_STEP = frozenset({FindingCode.DTYPE_MISMATCH, FindingCode.SIZE_MISMATCH, FindingCode.REDUCE_OP_MISMATCH, FindingCode.ROOT_MISMATCH})
"""Differences after which the ranks' later calls still meet the right ones."""


@dataclass(frozen=True, slots=True)
class _Side:
    """Ranks that do the same at the position in question; the first speaks for all."""

    ranks: Sequence[int]
    view: View

    @property
    def stream(self) -> Stream:
        return self.view.collectives


def first_parting(family: Family) -> int | None:
    """The first position at which not all members make the same call."""
    streams = {view.collectives.alike: view.collectives.numbers for view in family.pattern if view is not None}
    first, *others = streams.values()
    return min((position for other in others if (position := parting_of(first, other)) is not None), default=None)


def collective_differences(cast: Cast, family: Family, position: int) -> Iterator[Difference]:
    """The ways in which members leave what most of them do, at the first position where they part."""
    failed, sides = _sides(cast, family, position)
    if not sides:
        return
    usual = _usual(sides)
    if failed is not None:
        yield _ended_early(cast, family, usual if usual.stream.numbers[position:] else _going_on(sides, position), failed, position)
    by_code: dict[FindingCode, Difference] = {}
    for odd in sides.values():
        if odd is not usual:
            found = _difference(cast, family, usual, odd, position)
            by_code[found.code] = by_code[found.code].with_ranks_of(found) if found.code in by_code else found
    yield from by_code.values()


def _sides(cast: Cast, family: Family, position: int) -> tuple[_Side | None, dict[int | None, _Side]]:
    """Who failed before that position, and by what they do there the others; None stands for no further call."""
    failed: list[tuple[int, View]] = []
    here: dict[int | None, list[tuple[int, View]]] = defaultdict(list)
    for rank, view in family.members():
        numbers = view.collectives.numbers
        if position < len(numbers):
            here[numbers[position]].append((rank, view))
        elif failure_of(cast, rank) is not None:
            failed.append((rank, view))
        else:
            here[None].append((rank, view))
    sides = {number: _side(members) for number, members in here.items()}
    if failed and all(number is None for number in sides):
        return None, {}
    return _side(failed) if failed else None, sides


def _side(members: Sequence[tuple[int, View]]) -> _Side:
    return _Side([rank for rank, _ in members], members[0][1])


def _usual(sides: Mapping[int | None, _Side]) -> _Side:
    """What most do; of equally many, those who go on, then those with the lowest rank."""
    return max(sides.items(), key=lambda item: (len(item[1].ranks), item[0] is not None, -min(item[1].ranks)))[1]


def _going_on(sides: Mapping[int | None, _Side], position: int) -> _Side:
    return next(side for side in sides.values() if position < len(side.stream.numbers))


# -- one difference ----------------------------------------------------------------------------------------------------------------------


def _difference(cast: Cast, family: Family, usual: _Side, odd: _Side, position: int) -> Difference:
    uneven = uneven_steps(cast, usual.ranks[0], odd.ranks[0], _step(usual, position), _step(odd, position))
    if uneven is not None:
        return _stated(
            cast, family, usual, odd, position, FindingCode.UNEVEN_STEPS, f"{uneven}: at {{place}} some wait for ever", UNEVEN_HINT
        )
    found = _located(usual, odd, position)
    position = found.position
    return _stated(cast, family, usual, odd, position, *_told(found, usual.stream, odd.stream))


def _ended_early(cast: Cast, family: Family, usual: _Side, failed: _Side, position: int) -> Difference:
    what = "{who} failed: at {place} the others wait for ever"
    return _stated(cast, family, usual, failed, position, FindingCode.EARLY_EXIT, what, FAILED_HINT, failure_of(cast, failed.ranks[0]))


def _stated(
    cast: Cast, family: Family, usual: _Side, odd: _Side, position: int, code: FindingCode, what: str, hint: str, failure: str | None = None
) -> Difference:
    expected, found = (
        cast.record(side.ranks[0], side.stream.calls[position]) if position < len(side.stream.calls) else None for side in (usual, odd)
    )
    example = expected or found
    assert example is not None
    own, others = (
        f"{who(side.ranks)}: {call(record) if record is not None else 'no further call'}"
        for side, record in ((odd, found), (usual, expected))
    )
    number = {"s": "s", "its": "its"} if len(odd.ranks) == 1 else {"s": "", "its": "their"}
    everywhere = _everywhere(family, odd.ranks)
    return Difference(
        code=code,
        message=f"{what.format(who=who(odd.ranks), place=on(example, position), **number)}. {own}; {others}",
        hint=hint,
        call_site=(failed_at(cast, odd.ranks[0]) if failure else None) or (found or example).call_site,
        usual_site=example.call_site,
        odd=everywhere,
        named=everywhere,
        groups=family.groups,
        rank=odd.ranks[0],
        position=position,
        order=usual.stream.calls[position] if expected is not None else len(usual.view.trace.kinds),
        astray=code not in _IN_STEP,
        failure=failure,
    )


def _everywhere(family: Family, ranks: Sequence[int]) -> frozenset[int]:
    """The ranks that have the place of those in any group of the family."""
    places = [family.group.places[rank] for rank in ranks]
    return frozenset(group.ranks[place] for group in family.groups for place in places)


def _told(found: Diagnosis, usual: Stream, odd: Stream) -> tuple[FindingCode, str, str]:
    """Code, statement and hint."""
    at, calls = found.position, found.calls
    match found.parting:
        case Parting.MISSING if at >= len(odd.numbers):
            return FindingCode.MISSING_COLLECTIVE, "{who} never make{s} {place}", _SAME_CALLS
        case Parting.MISSING:
            what = "leave{s} out {place}" if calls == 1 else f"leave{{s}} out {calls} calls, the first of them {{place}}"
            return FindingCode.MISSING_COLLECTIVE, f"{{who}} {what}", _SAME_CALLS
        case Parting.EXTRA if at >= len(usual.numbers):
            return FindingCode.EXTRA_COLLECTIVE, "{who} make{s} {place}, which the others do not", _SAME_CALLS
        case Parting.EXTRA:
            own = "a call" if calls == 1 else f"{calls} calls"
            return FindingCode.EXTRA_COLLECTIVE, f"{{who}} make{{s}} {own} of {{its}} own before {{place}}", _SAME_CALLS
        case Parting.SWAPPED:
            return FindingCode.SWAPPED_COLLECTIVES, "{who} make{s} {place} and the next in the other order", _SAME_CALLS
        case _:
            kind = first_difference(usual.kinds[at].signature, odd.kinds[at].signature)
            return MISMATCHES[kind], f"{{who}} differ{{s}} in {kind} at {{place}}", _HINTS[kind]


def _step(side: _Side, position: int) -> int | None:
    calls = side.stream.calls
    return side.view.trace.schedule.calls[calls[position]].step if position < len(calls) else None


# -- where exactly -----------------------------------------------------------------------------------------------------------------------


def _located(usual: _Side, odd: _Side, position: int) -> Diagnosis:
    """What happened and where: a call may be missing well before signatures differ, when those that follow are all alike.

    So the whole programs are laid side by side first, lines and all; then the calls of the group with their lines; then without.
    """
    return (
        _in_programs(usual.view, odd.view, position)
        or _by_lines(usual.view, odd.view, position)
        or diagnosis_of(usual.stream.numbers, odd.stream.numbers, position)
    )


def _in_programs(usual: View, odd: View, limit: int) -> Diagnosis | None:
    there, here = _program(usual), _program(odd)
    parting = parting_of(there, here)
    if parting is None:
        return None
    found = diagnosis_of(there, here, parting)
    if found.parting not in (Parting.MISSING, Parting.EXTRA):
        return None
    calls = (usual if found.parting is Parting.MISSING else odd).collectives.calls
    concerned = [position for position, index in enumerate(calls) if found.position <= index < found.position + found.calls]
    return Diagnosis(found.parting, concerned[0], len(concerned)) if concerned and concerned[0] <= limit else None


def _by_lines(usual: View, odd: View, limit: int) -> Diagnosis | None:
    there, here = _with_lines(usual), _with_lines(odd)
    parting = parting_of(there, here)
    if parting is None or parting > limit:
        return None
    found = diagnosis_of(there, here, parting)
    return found if found.parting is not Parting.OTHER else None


def _program(view: View) -> list[Hashable]:
    """All calls of the rank. Groups go by their labels, the view's own by itself."""
    schedule = view.trace.schedule
    return [
        (True if call.slot in view.slots else schedule.slots[call.slot], kind.number, call.peer_offset, call.call_site)
        for call, kind in zip(schedule.calls, view.trace.kinds, strict=True)
    ]


def _with_lines(view: View) -> list[Hashable]:
    calls = view.trace.schedule.calls
    return [(number, calls[index].call_site) for number, index in zip(view.collectives.numbers, view.collectives.calls, strict=True)]
