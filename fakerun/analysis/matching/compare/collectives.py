"""Collectives of one group, compared position by position on all members: the first position at which they diverge, and how.

The reference is what the majority does, never a particular rank. Nothing is compared after the first divergence: it would be a consequence.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from fakerun.analysis.dependency import SimulatedWorld
from fakerun.analysis.matching.compare.alignment import Alignment, Calls, Edit, align, first_divergence, first_divergence_of_all
from fakerun.analysis.matching.compare.early_exit import FAILED_HINT, UNEVEN_HINT, failure_of, failure_site, uneven_steps
from fakerun.analysis.matching.compare.group_classes import GroupClass
from fakerun.analysis.matching.compare.interning import CallSequence, GroupCalls
from fakerun.analysis.matching.compare.mismatch import Mismatch
from fakerun.analysis.matching.description import describe_call, describe_position
from fakerun.call_site import CallSite
from fakerun.records.call_signature import first_difference
from fakerun.records.finding_code import FindingCode
from fakerun.units import name_ranks

_SAME_CALLS = (
    "Make every rank of the group issue the same calls in the same order; look for a branch that depends on the rank or on data, "
    "or a loop over a set."
)

_PROPERTIES = {
    FindingCode.OPERATION_MISMATCH: ("operation", _SAME_CALLS),
    FindingCode.ROOT_MISMATCH: ("root", "Pass the same root on every rank, as a global rank."),
    FindingCode.REDUCE_OP_MISMATCH: ("reduction", "Pass the same reduction on every rank."),
    FindingCode.DTYPE_MISMATCH: ("dtype", "Convert the tensor to one dtype on every rank before the call."),
    FindingCode.SIZE_MISMATCH: ("size", "Give the tensor the same size on every rank, pad it, or exchange the sizes first."),
}
"""By code the property of a call that differs, and the hint."""


@dataclass(frozen=True, slots=True)
class _Side:
    """Ranks that do the same at the position where members diverge; `calls` are those of the first."""

    ranks: Sequence[int]
    calls: GroupCalls

    @property
    def sequence(self) -> CallSequence:
        return self.calls.collectives

    def has_call(self, position: int) -> bool:
        return position < len(self.sequence.indices)


@dataclass(frozen=True, slots=True)
class _Statement:
    """What a mismatch says. `{who}` and `{s}` are the outliers and the ending of their verb, `{collective}` where they diverge."""

    code: FindingCode
    text: str
    hint: str
    desynchronising: bool = True
    failure: str | None = None


def first_group_divergence(group_class: GroupClass) -> int | None:
    """The first position at which not all members make the same call."""
    whole: dict[int, Calls] = {}
    cut: dict[int, Calls] = {}
    for group_rank, calls in enumerate(group_class.member_calls):
        if calls is not None:
            sequences = cut if group_rank in group_class.blocked else whole
            sequences[calls.collectives.sequence_number] = calls.collectives.numbers
    return first_divergence_of_all(whole.values(), cut.values())


def collective_mismatches(world: SimulatedWorld, group_class: GroupClass, position: int) -> Iterator[Mismatch]:
    """How members differ from the majority at the first position at which they diverge: one mismatch for each code."""
    failed, sides = _sides(world, group_class, position)
    if not sides:
        return
    majority = _majority(sides)
    if failed is not None:
        going_on = majority if majority.has_call(position) else next(side for side in sides.values() if side.has_call(position))
        statement = _Statement(
            FindingCode.EARLY_EXIT, "{who} failed and never issue{s} {collective}", FAILED_HINT, failure=failure_of(world, failed.ranks[0])
        )
        yield _mismatch(world, group_class, going_on, failed, position, statement)
    by_code: dict[FindingCode, Mismatch] = {}
    for outlier in sides.values():
        if outlier is not majority:
            found = _explained(world, group_class, majority, outlier, position)
            by_code[found.code] = by_code[found.code].merged_with(found) if found.code in by_code else found
    yield from by_code.values()


def _sides(world: SimulatedWorld, group_class: GroupClass, position: int) -> tuple[_Side | None, dict[int | None, _Side]]:
    """The ranks that failed before that position, and the others by what they do there; None for no further call.

    Ranks that are blocked before that position are on no side: what they would do there is not known.
    """
    failed: list[tuple[int, GroupCalls]] = []
    members: dict[int | None, list[tuple[int, GroupCalls]]] = defaultdict(list)
    for rank, calls in group_class.members():
        numbers = calls.collectives.numbers
        if position < len(numbers):
            members[numbers[position]].append((rank, calls))
        elif failure_of(world, rank) is not None:
            failed.append((rank, calls))
        elif rank not in world.blocked:
            members[None].append((rank, calls))
    sides = {number: _side(ranks) for number, ranks in members.items()}
    if failed and all(number is None for number in sides):
        return None, {}
    return _side(failed) if failed else None, sides


def _side(members: Sequence[tuple[int, GroupCalls]]) -> _Side:
    return _Side([rank for rank, _ in members], members[0][1])


def _majority(sides: Mapping[int | None, _Side]) -> _Side:
    """The largest side; of equally large ones a side that makes a call, then the one with the lowest rank."""
    return max(sides.items(), key=lambda item: (len(item[1].ranks), item[0] is not None, -min(item[1].ranks)))[1]


# -- one mismatch ------------------------------------------------------------------------------------------------------------------------


def _explained(world: SimulatedWorld, group_class: GroupClass, majority: _Side, outlier: _Side, position: int) -> Mismatch:
    uneven = uneven_steps(world, majority.ranks[0], outlier.ranks[0], _step(majority, position), _step(outlier, position))
    if uneven is not None:
        statement = _Statement(FindingCode.UNEVEN_STEPS, f"{uneven}, so they diverge at {{collective}}", UNEVEN_HINT)
        return _mismatch(world, group_class, majority, outlier, position, statement)
    is_cut = bool(world.blocked.intersection((majority.ranks[0], outlier.ranks[0])))
    found = _alignment(majority, outlier, position, is_cut=is_cut)
    statement = _statement(found, majority, outlier)
    return _mismatch(world, group_class, majority, outlier, found.position, statement)


def _mismatch(
    world: SimulatedWorld, group_class: GroupClass, majority: _Side, outlier: _Side, position: int, statement: _Statement
) -> Mismatch:
    expected, found = (
        world.record(side.ranks[0], side.sequence.indices[position]) if side.has_call(position) else None for side in (majority, outlier)
    )
    example = expected or found
    assert example is not None
    is_one = len(outlier.ranks) == 1
    calls = f"call{'s' * is_one} {describe_call(found)}" if found is not None else _ends(world, outlier.ranks)
    s = "s" * (len(majority.ranks) == 1)
    others = f"{name_ranks(majority.ranks)} {f'call{s} {describe_call(expected)}' if expected is not None else f'make{s} no further call'}"
    what = statement.text.format(who=name_ranks(outlier.ranks), s="s" * is_one, collective=describe_position(example, position))
    outliers = group_class.ranks_of([group_class.group.group_rank_of[rank] for rank in outlier.ranks])
    failed_at = failure_site(world, outlier.ranks[0]) if statement.failure else None
    return Mismatch(
        code=statement.code,
        message=f"{what}: {'it' if is_one else 'they'} {calls} where {others}",
        hint=statement.hint,
        call_site=failed_at or (found or example).call_site,
        majority_site=example.call_site,
        outliers=outliers,
        ranks=outliers,
        groups=group_class.groups,
        rank=outlier.ranks[0],
        position=position,
        program_index=majority.sequence.indices[position] if expected is not None else len(majority.calls.program),
        desynchronising=statement.desynchronising,
        failure=statement.failure,
    )


def _ends(world: SimulatedWorld, ranks: Sequence[int]) -> str:
    """What ranks do that make no further call."""
    is_one = len(ranks) == 1
    (*exits,) = {world.ranks[rank].record.exited_at for rank in ranks}
    if len(exits) == 1 and exits[0] is not None:
        return f"{'ends itself' if is_one else 'end themselves'} at {exits[0]}"
    return f"make{'s' * is_one} no further call"


def _statement(found: Alignment, majority: _Side, outlier: _Side) -> _Statement:
    at, calls = found.position, found.calls
    match found.edit:
        case Edit.MISSING if not outlier.has_call(at):
            return _Statement(FindingCode.MISSING_COLLECTIVE, "{who} never issue{s} {collective}", _SAME_CALLS)
        case Edit.MISSING:
            several = f"{calls} collectives, the first of them " if calls > 1 else ""
            return _Statement(FindingCode.MISSING_COLLECTIVE, f"{{who}} skip{{s}} {several}{{collective}}", _SAME_CALLS)
        case Edit.EXTRA if not majority.has_call(at):
            text = "{who} issue{s} {collective}, which the others do not"
            return _Statement(FindingCode.EXTRA_COLLECTIVE, text, _extra_hint(majority, outlier, at))
        case Edit.EXTRA:
            extra = f"{calls} extra collectives" if calls > 1 else "an extra collective"
            text = f"{{who}} issue{{s}} {extra} before {{collective}}"
            return _Statement(FindingCode.EXTRA_COLLECTIVE, text, _extra_hint(majority, outlier, at))
        case Edit.SWAPPED:
            return _Statement(FindingCode.SWAPPED_COLLECTIVES, "{who} swap{s} {collective} with the next one", _SAME_CALLS)
        case Edit.REORDERED:
            return _Statement(
                FindingCode.SWAPPED_COLLECTIVES, "{who} issue{s} {collective} and later ones in a different order", _SAME_CALLS
            )
        case _:
            code = first_difference(majority.sequence.calls[at].signature, outlier.sequence.calls[at].signature)
            name, hint = _PROPERTIES[code]
            text = f"{{who}} disagree{{s}} on the {name} of {{collective}}"
            return _Statement(code, text, hint, desynchronising=code is FindingCode.OPERATION_MISMATCH)


def _extra_hint(majority: _Side, outlier: _Side, position: int) -> str:
    """Names the line, where the others never call from it: then it is a part of the program that some ranks run alone."""
    site = _collective_sites(outlier.calls)[position]
    if site is None or site in _sites(majority.calls):
        return _SAME_CALLS
    return (
        f"Only {name_ranks(outlier.ranks)} communicate{'s' * (len(outlier.ranks) == 1)} at {site}. Let all ranks of the group run what "
        "communicates there (an evaluation, a save, a log), or keep it from communicating (call the module inside the wrapper)."
    )


def _step(side: _Side, position: int) -> int | None:
    return side.calls.schedule.calls[side.sequence.indices[position]].step if side.has_call(position) else None


# -- where the edit lies -----------------------------------------------------------------------------------------------------------------


def _alignment(majority: _Side, outlier: _Side, position: int, *, is_cut: bool) -> Alignment:
    """The edit and its position. A call may be missing well before signatures differ, if the calls after it are all equal.

    So whole programs are aligned first, with call sites; then the calls of the group with their call sites; then those without. What
    these cannot tell, the lines may that only one side calls from. One of the programs `is_cut` if its rank is blocked.
    """
    found = (
        _aligned_programs(majority.calls, outlier.calls, position, is_cut=is_cut)
        or _aligned_with_call_sites(majority.calls, outlier.calls, position, is_cut=is_cut)
        or align(majority.sequence.numbers, outlier.sequence.numbers, position, is_cut=is_cut)
    )
    return found if found.edit is not Edit.DIFFERENT else _aligned_by_lines(majority.calls, outlier.calls, found)


def _aligned_programs(majority: GroupCalls, outlier: GroupCalls, limit: int, *, is_cut: bool) -> Alignment | None:
    there, here = _program(majority), _program(outlier)
    divergence = first_divergence(there, here)
    if divergence is None:
        return None
    found = align(there, here, divergence, is_cut=is_cut)
    if found.edit not in (Edit.MISSING, Edit.EXTRA):
        return None
    indices = (majority if found.edit is Edit.MISSING else outlier).collectives.indices
    concerned = [position for position, index in enumerate(indices) if found.position <= index < found.position + found.calls]
    return Alignment(found.edit, concerned[0], len(concerned)) if concerned and concerned[0] <= limit else None


def _aligned_with_call_sites(majority: GroupCalls, outlier: GroupCalls, limit: int, *, is_cut: bool) -> Alignment | None:
    there, here = _with_call_sites(majority), _with_call_sites(outlier)
    divergence = first_divergence(there, here)
    if divergence is None or divergence > limit:
        return None
    found = align(there, here, divergence, is_cut=is_cut)
    return found if found.edit is not Edit.DIFFERENT else None


def _aligned_by_lines(majority: GroupCalls, outlier: GroupCalls, different: Alignment) -> Alignment:
    """Calls that differ: an extra one where only the outlier calls from its line, and from the majority's too, in another place.

    A missing one where the outlier calls from a line that the majority calls from, too, in another place. Where each side has a line of
    its own, these are two branches of one exchange, and what they exchange does differ.
    """
    there, here = _sites(majority), _sites(outlier)
    expected, found = (_collective_sites(calls)[different.position :] for calls in (majority, outlier))
    if expected[0] == found[0]:
        return different
    if found[0] in there:
        skipped = list(takewhile(lambda site: site not in here, expected)) or expected[:1]
        return Alignment(Edit.MISSING, different.position, len(skipped))
    if expected[0] in here:
        return Alignment(Edit.EXTRA, different.position, len(list(takewhile(lambda site: site not in there, found))))
    return different


def _sites(calls: GroupCalls) -> set[CallSite | None]:
    """The lines of all calls of the rank, in all groups."""
    return {call.call_site for call in calls.schedule.calls}


def _collective_sites(calls: GroupCalls) -> list[CallSite | None]:
    return [calls.schedule.calls[index].call_site for index in calls.collectives.indices]


def _program(calls: GroupCalls) -> list[Hashable]:
    """All calls of the rank. The group in question is True, other groups are what their slots have in common."""
    slots = calls.schedule.schedule.slots
    return [
        (True if call.slot in calls.slots else slots[call.slot], interned.number, call.peer_offset, call.call_site)
        for call, interned in zip(calls.schedule.calls, calls.program, strict=True)
    ]


def _with_call_sites(calls: GroupCalls) -> list[Hashable]:
    sequence = calls.collectives
    return [(number, calls.schedule.calls[index].call_site) for number, index in zip(sequence.numbers, sequence.indices, strict=True)]
