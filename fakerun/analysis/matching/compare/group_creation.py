"""The process groups that ranks create: all ranks that must create them must do so in the same order, members or not.

torch names groups by counting them: a group that one rank does not create changes the names of all its later groups, and a rank that
creates a group waits for the others that must.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from fakerun.analysis.dependency import SimulatedWorld
from fakerun.analysis.matching.compare.alignment import first_divergence_of_all
from fakerun.analysis.matching.compare.early_exit import FAILED_HINT, UNEVEN_HINT, failure_of, failure_site
from fakerun.analysis.matching.compare.interning import Numbering
from fakerun.analysis.matching.compare.mismatch import Mismatch
from fakerun.records.finding_code import FindingCode
from fakerun.records.run import GroupCreation
from fakerun.units import name_ranks

CREATION_HINT = "Call new_group on every rank for every group, members or not, in the same order and with the same ranks."

Callers = tuple[int, ...] | None
"""The ranks that must create a group; None for all ranks of the world."""


@dataclass(frozen=True, slots=True, eq=False)
class _Created:
    """Groups in the order of creation: for each the number of its ranks (equal ranks, equal numbers), and the call that created it."""

    groups: tuple[int, ...]
    calls: tuple[GroupCreation, ...]


class _Creations:
    """The groups that ranks created, by the ranks that must create them; computed once for records that are one object."""

    def __init__(self) -> None:
        self.ranks = Numbering()
        self._by_record: dict[int, Mapping[Callers, _Created]] = {}

    def of(self, creations: tuple[GroupCreation, ...]) -> Mapping[Callers, _Created]:
        found = self._by_record.get(id(creations))
        if found is None:
            found = self._by_record[id(creations)] = self._by_callers(creations)
        return found

    def _by_callers(self, creations: tuple[GroupCreation, ...]) -> Mapping[Callers, _Created]:
        groups: dict[Callers, list[tuple[int, GroupCreation]]] = defaultdict(list)
        for call in creations:
            groups[call.callers].extend((self.ranks[ranks], call) for ranks in call.each())
        return {callers: _Created(tuple(number for number, _ in each), tuple(call for _, call in each)) for callers, each in groups.items()}


def creation_mismatches(world: SimulatedWorld) -> Iterator[Mismatch]:
    """For each set of ranks that must create groups together, the first group at which they diverge."""
    creations = _Creations()
    created = {rank: creations.of(view.record.group_creations) for rank, view in world.ranks.items()}
    distinct = {id(each): each for each in created.values()}
    nothing = _Created((), ())
    for callers in dict.fromkeys(callers for each in distinct.values() for callers in each):
        simulated = [rank for rank in (world.ranks if callers is None else callers) if rank in world.ranks]
        by_rank = {rank: created[rank].get(callers, nothing) for rank in simulated}
        cut = frozenset(by_rank[rank].groups for rank in by_rank.keys() & world.blocked)
        position = first_divergence_of_all(frozenset(by_rank[rank].groups for rank in by_rank.keys() - world.blocked), cut)
        if position is not None:
            reached = {rank: each for rank, each in by_rank.items() if rank not in world.blocked or position < len(each.groups)}
            yield _mismatch(world, reached, position, {number: ranks for ranks, number in creations.ranks.items()})


def _mismatch(world: SimulatedWorld, created: Mapping[int, _Created], position: int, ranks_of: Mapping[int, object]) -> Mismatch:
    sides: dict[int | None, list[int]] = defaultdict(list)
    for rank, each in created.items():
        sides[each.groups[position] if position < len(each.groups) else None].append(rank)
    ordered = sorted(sides.items(), key=lambda item: (item[0] is None, -len(item[1]), item[1][0]))
    (_, majority), (_, outlier) = ordered[0], ordered[1]
    has_majority = len(majority) > max(len(ranks) for _, ranks in ordered[1:])
    outliers = frozenset(created) - frozenset(majority) if has_majority else frozenset(created)
    expected = created[majority[0]].calls[position]
    found = created[outlier[0]].calls[position] if position < len(created[outlier[0]].calls) else None
    code, failure, hint = _cause(world, majority[0], outlier[0], has_ended=found is None)
    sides_text = "; ".join(_side(ranks, created[ranks[0]], position, number, ranks_of) for number, ranks in reversed(ordered))
    return Mismatch(
        code=code,
        message=f"{_statement(code, outliers, position)}: {sides_text}",
        hint=hint,
        call_site=(failure_site(world, outlier[0]) if failure else None) or (found or expected).call_site,
        majority_site=expected.call_site,
        outliers=outliers,
        ranks=outliers,
        groups=(),
        rank=majority[0],
        position=position,
        program_index=expected.before,
        failure=failure,
        blocked={
            rank: each.calls[position].before if position < len(each.calls) else len(world.ranks[rank].calls)
            for rank, each in created.items()
        },
    )


def _cause(world: SimulatedWorld, majority: int, outlier: int, *, has_ended: bool) -> tuple[FindingCode, str | None, str]:
    """Code, the failure that explains it, and hint."""
    failure = failure_of(world, outlier) if has_ended else None
    if failure is not None:
        return FindingCode.EARLY_EXIT, failure, FAILED_HINT
    if has_ended and world.ranks[outlier].record.steps < world.ranks[majority].record.steps:
        return FindingCode.UNEVEN_STEPS, None, UNEVEN_HINT
    return FindingCode.GROUP_MISMATCH, None, CREATION_HINT


def _statement(code: FindingCode, outliers: frozenset[int], position: int) -> str:
    s = "s" * (len(outliers) == 1)
    if code == FindingCode.EARLY_EXIT:
        return f"{name_ranks(outliers)} failed and never create{s} process group #{position}"
    if code == FindingCode.UNEVEN_STEPS:
        return f"{name_ranks(outliers)} complete{s} fewer steps than the others and never create{s} process group #{position}"
    return f"ranks do not create the same process groups in the same order. They diverge at process group #{position}"


def _side(ranks: Sequence[int], created: _Created, position: int, number: int | None, ranks_of: Mapping[int, object]) -> str:
    s = "s" * (len(ranks) == 1)
    if number is None:
        return f"{name_ranks(ranks)} create{s} no further group"
    members: Sequence[int] = ranks_of[number]  # type: ignore[assignment]
    site = created.calls[position].call_site
    return f"{name_ranks(ranks)} create{s} a group of {name_ranks(members)}{f' at {site}' if site else ''}"
