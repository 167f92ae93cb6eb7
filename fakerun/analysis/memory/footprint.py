"""Replay of a memory timeline: how many bytes were allocated after each event, when most were, and what was alive then.

All bytes are allocated bytes as the caching allocator counts them (`MemoryBlock.nbytes`), the `allocated_bytes.all` of
`torch.cuda.memory_stats`. Every function is linear in the number of events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from fakerun.analysis.memory.timeline import MemoryTimeline
from fakerun.records.memory import MemoryBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryFootprint:
    """The allocated device memory of one rank, on one device or on all of its devices.

    `peak_event` is the first event after which `peak_bytes` were allocated, `peak_block` the block that this event allocated,
    `peak_step` the training step in which it did; all are None when nothing was ever allocated. `alive_at_peak` is in order of allocation.

    `per_step_peak_bytes` has one entry for each completed step and counts what was alive at the step's start. What was
    allocated after the last completed step (a step cut short by a failure, an evaluation at the end of the script) is in
    `unfinished_step_peak_bytes`, None if there were no such allocations.
    """

    peak_bytes: int = 0
    peak_event: int | None = None
    peak_block: MemoryBlock | None = None
    peak_step: int | None = None
    alive_at_peak: tuple[MemoryBlock, ...] = ()
    final_bytes: int = 0
    per_step_peak_bytes: tuple[int, ...] = ()
    unfinished_step_peak_bytes: int | None = None


def footprints_by_device(timeline: MemoryTimeline) -> Mapping[int, MemoryFootprint]:
    """The footprint on each device that the timeline has blocks of, by the device's ordinal."""
    return {device: footprint_of(part) for device, part in _by_device(timeline).items()}


def footprint_of(timeline: MemoryTimeline) -> MemoryFootprint:
    """Replay the timeline once and derive everything from the running sum, over all devices if it has several."""
    allocated = allocated_after_each_event(timeline)
    peak_bytes = max(allocated, default=0)
    peak_event = allocated.index(peak_bytes) if peak_bytes else None
    return MemoryFootprint(
        peak_bytes=peak_bytes,
        peak_event=peak_event,
        peak_block=None if peak_event is None else timeline.blocks[timeline.events[peak_event]],
        peak_step=None if peak_event is None else timeline.step_of(peak_event),
        alive_at_peak=() if peak_event is None else alive_after(timeline, peak_event),
        final_bytes=allocated[-1] if allocated else 0,
        per_step_peak_bytes=_per_step_peaks(timeline, allocated),
        unfinished_step_peak_bytes=_unfinished_step_peak(timeline, allocated),
    )


def allocated_after_each_event(timeline: MemoryTimeline) -> list[int]:
    """The running sum of allocated bytes, one entry for each event."""
    sizes = [block.nbytes for block in timeline.blocks]
    return list(accumulate(sizes[event] if event >= 0 else -sizes[~event] for event in timeline.events))


def alive_after(timeline: MemoryTimeline, event: int) -> tuple[MemoryBlock, ...]:
    """The blocks that are allocated after the event at this index, in order of allocation."""
    alive: dict[int, None] = {}
    for change in timeline.events[: event + 1]:
        if change >= 0:
            alive[change] = None
        else:
            del alive[~change]
    return tuple(timeline.blocks[index] for index in alive)


def _by_device(timeline: MemoryTimeline) -> Mapping[int, MemoryTimeline]:
    """For each device the timeline of its blocks and their events, with the same ends of steps."""
    devices = sorted({block.device for block in timeline.blocks})
    if len(devices) == 1:
        return {devices[0]: timeline}
    return {device: _on_device(timeline, device) for device in devices}


def _on_device(timeline: MemoryTimeline, device: int) -> MemoryTimeline:
    kept = [index for index, block in enumerate(timeline.blocks) if block.device == device]
    number = {old: new for new, old in enumerate(kept)} | {~old: ~new for new, old in enumerate(kept)}
    events_before = [0, *accumulate(event in number for event in timeline.events)]
    return MemoryTimeline(
        blocks=tuple(timeline.blocks[index] for index in kept),
        events=tuple(number[event] for event in timeline.events if event in number),
        step_ends=tuple(events_before[end] for end in timeline.step_ends),
    )


def _per_step_peaks(timeline: MemoryTimeline, allocated: Sequence[int]) -> tuple[int, ...]:
    return tuple(_peak_within(allocated, start, end) for start, end in pairwise((0, *timeline.step_ends)))


def _unfinished_step_peak(timeline: MemoryTimeline, allocated: Sequence[int]) -> int | None:
    start = timeline.step_ends[-1] if timeline.step_ends else 0
    if any(event >= 0 for event in timeline.events[start:]):
        return _peak_within(allocated, start, len(allocated))
    return None


def _peak_within(allocated: Sequence[int], start: int, end: int) -> int:
    """The maximum allocated from just before event `start` up to event `end`."""
    return max(allocated[max(start - 1, 0) : end], default=0) if end else 0
