"""What would lower the peak of reserved memory most: each change is replayed with the allocator, and those that help are ranked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.advice.changes import Change, changes
from fakerun.analysis.memory.advice.lifetimes import allocated_peak_bytes
from fakerun.analysis.memory.advice.replication import GradientReduction
from fakerun.analysis.memory.reserved import peak_within, runs_out
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import DeviceProgram
from fakerun.units import join_words

LEAST_SAVED_BYTES = 64 * 1024**2
LEAST_SAVED_SHARE = 0.01
"""What saves less than either is not worth a change."""
MOST_ADVICE = 6

_WORTH_BESIDE_THE_BEST = 1.5
"""How many times the peak of the best checkpointing another may have: it computes less again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One change, and the peak of what the device's allocator would reserve with it: `peak_reserved_bytes`, less by `saved_bytes`.

    `runs_out` is whether the allocator would still fail on the device, having given back all that it caches. `is_several` if it is several
    of the others.
    """

    what: str
    how: str
    saved_bytes: int
    peak_reserved_bytes: int
    runs_out: bool = False
    is_several: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A change, the program with it, and the least that the allocator needs for that: what is allocated at a time."""

    change: Change
    program: DeviceProgram
    allocated_bytes: int


@dataclass(frozen=True, slots=True)
class _Device:
    """The device with this ordinal, and what it has for the allocator."""

    ordinal: int
    hardware: Accelerator
    capacity_bytes: int
    variables: Mapping[str, str]

    def candidate(self, change: Change, program: DeviceProgram) -> _Candidate:
        changed = program if change.edit is None else change.edit.program()
        return _Candidate(change, changed, allocated_peak_bytes(changed, self.ordinal))

    def peak_within(self, candidate: _Candidate, most_bytes: float) -> int | None:
        """What the allocator needs at most; None if that exceeds `most_bytes`."""
        if candidate.allocated_bytes > most_bytes:
            return None
        settings = candidate.change.settings
        return peak_within(candidate.program, settings, self.hardware, self.ordinal, most_bytes, variables=self.variables)

    def runs_out(self, candidate: _Candidate, peak_bytes: int) -> bool:
        """Whether the allocator fails, which needs so much if it has it."""
        if peak_bytes <= self.capacity_bytes:
            return False
        return candidate.allocated_bytes > self.capacity_bytes or runs_out(
            candidate.program, candidate.change.settings, self.hardware, self.capacity_bytes, self.variables
        )


_Found = tuple[_Candidate, int]
"""A candidate, and the peak of reserved memory with it."""


def advice_for(
    program: DeviceProgram,
    settings: AllocatorSettings,
    hardware: Accelerator,
    *,
    device: int,
    peak_bytes: int,
    variables: Mapping[str, str] | None = None,
    capacity_bytes: int | None = None,
    reductions: Sequence[GradientReduction] = (),
) -> tuple[Advice, ...]:
    """What lowers the peak on the device with this ordinal, most first; empty if nothing does by enough.

    If none is enough by itself, the last is several of them together, by their numbers from 1. Takes a replay for each change that may be
    among them by what it allocates, and one for each that is added to the best.

    `peak_bytes` is what is reserved there at the peak now; `variables` are those of the rank's environment; `capacity_bytes` is what the
    device has for the allocator, all that is usable if None; `reductions` are those of the rank's gradients.
    """
    on = _Device(device, hardware, hardware.usable_bytes if capacity_bytes is None else capacity_bytes, variables or {})
    least = max(LEAST_SAVED_BYTES, LEAST_SAVED_SHARE * peak_bytes)
    candidates = [on.candidate(change, program) for change in changes(program, settings, device, reductions)]
    ranked = _best(candidates, on, peak_bytes - least)
    together = _together(ranked, on, reductions, least)
    return tuple(
        Advice(
            what=what,
            how=how,
            saved_bytes=peak_bytes - peak,
            peak_reserved_bytes=peak,
            runs_out=on.runs_out(candidate, peak),
            is_several=is_several,
        )
        for what, how, candidate, peak, is_several in (
            *((each.change.what, each.change.how, each, peak, False) for each, peak in ranked),
            *((f"{join_words(numbers)} together", "make all of these changes", each, peak, True) for numbers, each, peak in together),
        )
    )


def _best(candidates: Sequence[_Candidate], on: _Device, highest: float) -> list[_Found]:
    """The best of those whose peak is not above `highest`, in order; what allocates too much to be among them is not replayed."""
    best: list[_Found] = []
    for candidate in sorted(candidates, key=lambda each: each.allocated_bytes):
        peak = on.peak_within(candidate, min(highest, _highest_of_interest(candidate, best)))
        if peak is not None:
            best = _selected([*best, (candidate, peak)])
    return sorted(best, key=lambda each: (each[1], each[0].change.what))[:MOST_ADVICE]


def _highest_of_interest(candidate: _Candidate, best: Sequence[_Found]) -> float:
    """The peak above which a candidate is not among the best."""
    limits = sorted(peak for _, peak in best)[MOST_ADVICE - 1 :]
    of_checkpointing = [peak for each, peak in best if each.change.is_checkpointing]
    if candidate.change.is_checkpointing and of_checkpointing:
        return min([*limits, _WORTH_BESIDE_THE_BEST * min(of_checkpointing)])
    return min(limits, default=inf)


def _selected(found: Sequence[_Found]) -> list[_Found]:
    """All, but of checkpointing only the best and what needs little more."""
    peaks = [peak for candidate, peak in found if candidate.change.is_checkpointing]
    return [each for each in found if not each[0].change.is_checkpointing or each[1] <= _WORTH_BESIDE_THE_BEST * min(peaks)]


def _together(
    ranked: Sequence[_Found], on: _Device, reductions: Sequence[GradientReduction], least: float
) -> Iterator[tuple[list[str], _Candidate, int]]:
    """If none is enough by itself: the best with as many others, in order, as it takes, each made to the program as changed.

    Yields their numbers, all of the changes, and the peak with them.
    """
    if not ranked:
        return
    changed = ranked[0][0]
    peak: int | None = ranked[0][1]  # None while it is not known
    numbers = ["1"]
    for number, (candidate, _) in enumerate(ranked[1:], 2):
        if peak is not None and peak <= on.capacity_bytes:
            break
        change = candidate.change.made_to(changed.program, changed.change.settings, on.ordinal, reductions)
        if change is None:
            continue
        further = on.candidate(change, changed.program)
        # What allocates that much less is worth it, and what allocates more than the device has is not enough: neither needs a replay.
        is_worth_it = further.allocated_bytes <= changed.allocated_bytes - least
        if is_worth_it and further.allocated_bytes > on.capacity_bytes:
            lower = None
        elif is_worth_it:
            lower = on.peak_within(further, inf)
        else:
            peak = on.peak_within(changed, inf) if peak is None else peak
            lower = on.peak_within(further, (peak or 0) - least)
            is_worth_it = lower is not None
        if is_worth_it:
            changed, peak = further, lower
            numbers.append(str(number))
    if len(numbers) > 1:
        yield numbers, changed, peak if peak is not None else on.peak_within(changed, inf) or 0
