"""The findings about ranks that were not simulated: what is assumed of them, why, and of how many nothing is known; in figures."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.rank_function import UnfollowedUse
from fakerun.records.run import RankRecord
from fakerun.units import join_words, name_ranks

if TYPE_CHECKING:
    from fakerun.call_site import CallSite

_SHOWN_USES = 3
_HINT = "--ranks all simulates every rank; --samples N simulates more of them at random."


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a selection of ranks rests on.

    `classes` are those that `tests` of the rank tell apart, and with `has_groups` the members of process groups; with `merged` there were
    too many, and ranks are of one class if each line of the program singles them out equally often. `not_evaluated` tests have outcomes
    that are not known on other ranks. `has_parts`: samples of one class differ. `common` is what ranks have in common with their
    representative. `unknown` ranks are not assumed to do anything.
    """

    world_size: int
    simulated: int
    assumed: int
    classes: int
    tests: int
    has_groups: bool
    samples: int
    merged: bool
    not_evaluated: int
    has_parts: bool
    common: tuple[str, ...]
    outliers: tuple[int, ...]
    unfollowed: tuple[UnfollowedUse, ...]
    unknown: int

    @property
    def is_followed(self) -> bool:
        """Whether all that the program did with its rank is known, and explains all differences between the simulated ranks."""
        return not (self.unfollowed or self.merged or self.not_evaluated or self.has_parts or self.outliers)


def unfollowed_uses(records: Iterable[RankRecord]) -> tuple[UnfollowedUse, ...]:
    """Those of all simulated ranks, each place once, with the count of the rank that did it most often."""
    counts: dict[tuple[str, CallSite | None], int] = {}
    for record in records:
        for use in record.unfollowed_uses:
            counts[use.kind, use.call_site] = max(use.count, counts.get((use.kind, use.call_site), 0))
    return tuple(UnfollowedUse(kind=kind, call_site=site, count=count) for (kind, site), count in counts.items())


def assumed_finding(figures: Figures) -> Iterator[Finding]:
    """What is assumed; nothing if no rank is assumed to match another one."""
    if not figures.assumed:
        return
    code = FindingCode.RANKS_REPRESENTED if figures.is_followed else FindingCode.RANKS_ASSUMED
    yield Finding(code=code, message=" ".join(_sentences(figures)), hint=_HINT)


def refuted_finding(ranks: int, representatives: Collection[int]) -> Iterator[Finding]:
    """Simulated ranks refute that these represent `ranks` others; without any, the simulated ranks have nothing in common."""
    if not ranks:
        return
    reason = "the simulated ranks differ too much from each other, or failed"
    if representatives:
        reason = f"not all ranks that {name_ranks(representatives)} would represent do the same"
    yield Finding(
        code=FindingCode.ASSUMPTION_REFUTED,
        message=f"nothing is known about {ranks} ranks that were not simulated: {reason}.",
        hint="Simulate more of them: --ranks all, or by number as in --ranks 0,4-7.",
    )


def unknown_finding(unrepresented: int, groupless: int) -> Iterator[Finding]:
    """Ranks of classes of which none was simulated, and ranks whose process groups are not known."""
    if unrepresented:
        yield Finding(
            code=FindingCode.RANKS_UNKNOWN,
            message=f"nothing is known about {unrepresented} ranks that were not simulated: the program tells apart more classes of ranks "
            "than are simulated.",
            hint="Simulate more of them: --ranks all, or by number as in --ranks 0,4-7.",
        )
    if groupless:
        yield Finding(
            code=FindingCode.RANKS_UNKNOWN,
            message=f"nothing is known about {groupless} ranks that were not simulated: they match a simulated rank, but which process "
            "groups they use in the place of that rank's is not known.",
            hint="Simulate more of them: --ranks all, or by number as in --ranks 0,4-7. Pass --mesh if the groups follow a mesh.",
        )


def _sentences(figures: Figures) -> Iterator[str]:
    others = f"{figures.assumed} others" if figures.unknown else "the rest"
    own = join_words(figures.common)
    match = f"the simulated rank of their {own}" if own else "a simulated rank"
    verb = "do what" if figures.is_followed else "are assumed to match"
    does = " does" if figures.is_followed else ""
    yield (f"{figures.simulated} of {figures.world_size} ranks were simulated ({_chosen(figures)}); {others} {verb} {match}{does}.")
    if figures.merged:
        yield (
            "The program tells apart too many classes of ranks to simulate one of each: ranks are taken to do the same if each line of the "
            "program singles them out equally often."
        )
    if figures.outliers:
        s = "s" * (len(figures.outliers) == 1)
        yield f"{name_ranks(figures.outliers).capitalize()} differ{s} and represent{s} no other rank."
    if figures.not_evaluated:
        yield f"Of {figures.not_evaluated} of the tests the outcome on other ranks is not known: it would take too long to compute."
    if figures.unfollowed:
        yield _unfollowed(figures.unfollowed)


def _chosen(figures: Figures) -> str:
    """How the simulated ranks were chosen: `3 classes that 5 tests of the rank tell apart; mesh corners and edges; 4 at random`."""
    tests = [f"{figures.tests} test{'s' * (figures.tests != 1)} of the rank"] if figures.tests else []
    if figures.classes > 1:
        by = [*tests, *(["the members of process groups"] if figures.has_groups else [])]
        several = "s" * (len(by) == 1 and figures.tests == 1)
        classes = f"{figures.classes} classes that {join_words(by)} tell{several} apart"
    else:
        classes = f"one class: {tests[0]}, the same on all" if tests else "one class: no test of the rank"
    return f"{classes}; mesh corners and edges; {figures.samples} at random"


def _unfollowed(uses: Iterable[UnfollowedUse]) -> str:
    """`3 uses of the rank were not followed: text at train.py:3, index at train.py:7 (12 times) and seed at lib.py:9.`"""
    shown = [_use(use) for use in uses]
    more = [f"{len(shown) - _SHOWN_USES} others"] if len(shown) > _SHOWN_USES else []
    s, were = ("s", "were") if len(shown) > 1 else ("", "was")
    return f"{len(shown)} use{s} of the rank {were} not followed: {join_words([*shown[:_SHOWN_USES], *more])}."


def _use(use: UnfollowedUse) -> str:
    where = f"at {use.call_site}" if use.call_site is not None else "at an unknown line"
    return f"{use.kind} {where}{f' ({use.count} times)' if use.count > 1 else ''}"
