"""Which calls of a schedule are new, gone or changed: what a person would say, rather than lines that were added and removed."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeAlias

from fakerun.analysis.baseline.baseline import Call, Items, Schedule
from fakerun.analysis.baseline.folding import counted, unfolded
from fakerun.job.tolerances import Tolerance

BEFORE, AFTER, FIRST, STEP = "before the first step", "after the last step", "in the first step", ""
"""Parts of the program, as they are said after a call; the last is each step, which goes without saying."""


class ChangeKind(Enum):
    """What changed of calls."""

    ADDED = auto()
    REMOVED = auto()
    REDUCTION = auto()
    MESSAGE = auto()
    OPERATION = auto()
    DTYPE = auto()
    GROUP = auto()
    PHASE = auto()
    MODULE = auto()
    ORDER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallChange:
    """`count` calls that changed in the same way: `old` is None for calls that are new, `new` for those that are gone.

    For a changed order they are the first call that is not where it was, and the one that is there now.
    """

    kind: ChangeKind
    part: str
    old: Call | None
    new: Call | None
    count: int

    @property
    def call(self) -> Call:
        """The new call, or the one that is gone."""
        call = self.new or self.old
        assert call is not None
        return call


_Signature: TypeAlias = Callable[[Call], tuple[object, ...]]

_PAIRINGS: tuple[tuple[ChangeKind, _Signature], ...] = (
    (ChangeKind.REDUCTION, lambda c: (c.phase, c.module, c.op, c.dtype, c.nbytes, c.group, c.group_size, c.peer, c.root)),
    (ChangeKind.MESSAGE, lambda c: (c.phase, c.module, c.op, c.reduce_op, c.dtype, c.group, c.group_size, c.peer, c.root)),
    (ChangeKind.GROUP, lambda c: (c.phase, c.module, c.op, c.dtype, c.reduce_op, c.group, c.root is None, c.peer is None)),
    (ChangeKind.DTYPE, lambda c: (c.phase, c.module, c.op, c.reduce_op, c.group, c.group_size, c.peer, c.root)),
    (ChangeKind.OPERATION, lambda c: (c.phase, c.module, c.dtype, c.group, c.group_size)),
    (ChangeKind.GROUP, lambda c: (c.phase, c.module, c.op, c.dtype, c.reduce_op)),
    (ChangeKind.MODULE, lambda c: (c.phase, c.op, c.reduce_op, c.dtype, c.nbytes, c.group, c.group_size, c.peer, c.root)),
    (ChangeKind.PHASE, lambda c: (c.module, c.op, c.reduce_op, c.dtype, c.nbytes, c.group, c.group_size, c.peer, c.root)),
)
"""Calls that are gone and new ones that agree in all of these are taken to be the same call, changed; the first that applies."""


def call_changes(old: Schedule, new: Schedule, messages: Tolerance) -> tuple[CallChange, ...]:
    """What changed of the calls, by part; a change that every step has is said once."""
    if old == new:
        return ()
    before, now = _parts(old), _parts(new)
    before, now = _alike(before, now), _alike(now, before)
    of_step = tuple(_changes(STEP, before.get(STEP, ()), now.get(STEP, ()), messages))
    changes = [*of_step]
    for part in (BEFORE, *(each for each in {**before, **now} if each not in (BEFORE, AFTER, STEP)), AFTER):
        default = part not in (BEFORE, AFTER)
        items = [parts.get(part, parts.get(STEP, ()) if default else ()) for parts in (before, now)]
        found = tuple(_changes(part, items[0], items[1], messages))
        if default and [(each.kind, each.old, each.new, each.count) for each in found] == [
            (each.kind, each.old, each.new, each.count) for each in of_step
        ]:
            continue
        changes += found
    return tuple(changes)


def _parts(schedule: Schedule) -> dict[str, Items]:
    """By what is said of the part; the last step that was completed is `STEP`."""
    found: dict[str, Items] = {}
    steps = [part for part in schedule.parts if "step" in part.name and part.name not in (BEFORE, AFTER)]
    for part in schedule.parts:
        if part is (steps[-1] if steps else None):
            found[STEP] = part.items
        else:
            found[_said(part.name)] = part.items
    return found


def _alike(parts: dict[str, Items], other: dict[str, Items]) -> dict[str, Items]:
    """The parts with what comes before the first step as a part of it, where the other schedule has it so."""
    if BEFORE not in parts or BEFORE in other or FIRST not in other:
        return parts
    first = (*parts[BEFORE], *parts.get(FIRST, parts.get(STEP, ())))
    return {FIRST: first, **{part: items for part, items in parts.items() if part not in (BEFORE, FIRST)}}


def _said(part: str) -> str:
    if part in (BEFORE, AFTER):
        return part
    return FIRST if part == "first step" else f"in {part}"


def _changes(part: str, old: Items, new: Items, messages: Tolerance) -> Iterator[CallChange]:
    before, now = counted(old), counted(new)
    gone, added = before - now, now - before
    if not gone and not added:
        yield from _order(part, old, new)
        return
    for kind, signature in _PAIRINGS:
        for was, became, count in _paired(gone, added, signature):
            if kind is not ChangeKind.MESSAGE or not messages.allows(was.nbytes, became.nbytes):
                yield CallChange(kind=kind, part=part, old=was, new=became, count=count)
    for call, count in added.items():
        yield CallChange(kind=ChangeKind.ADDED, part=part, old=None, new=call, count=count)
    for call, count in gone.items():
        yield CallChange(kind=ChangeKind.REMOVED, part=part, old=call, new=None, count=count)


def _paired(gone: Counter[Call], added: Counter[Call], signature: _Signature) -> Iterator[tuple[Call, Call, int]]:
    """Take calls that agree out of both."""
    waiting: dict[tuple[object, ...], list[Call]] = {}
    for call in gone:
        waiting.setdefault(signature(call), []).append(call)
    for call in tuple(added):
        for candidate in waiting.get(signature(call), ()):
            count = min(gone[candidate], added[call])
            if count:
                gone[candidate] -= count
                added[call] -= count
                yield candidate, call, count
    for counts in (gone, added):
        for call in [call for call, count in counts.items() if not count]:
            del counts[call]


def _order(part: str, old: Items, new: Items) -> Iterator[CallChange]:
    """The first call that is not where it was."""
    if old == new:
        return
    before: Sequence[Call] = [call.same for call in unfolded(old)]
    now = [call.same for call in unfolded(new)]
    moved = [at for at, (was, is_) in enumerate(zip(before, now, strict=True)) if was != is_]
    if moved:
        yield CallChange(kind=ChangeKind.ORDER, part=part, old=before[moved[0]], new=now[moved[0]], count=len(moved))


def calls_of_step(schedule: Schedule) -> Mapping[Call, int]:
    """How often each call is issued in the last completed step."""
    return counted(_parts(schedule).get(STEP, ()))
