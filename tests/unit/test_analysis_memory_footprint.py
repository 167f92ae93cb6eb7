"""Replay of timelines: exact on small ones, equal to a naive recomputation on random ones."""

import random

import pytest

from fakerun.analysis.memory.footprint import MemoryFootprint, alive_after, allocated_after_each_event, footprint_of, footprints_by_device
from fakerun.analysis.memory.timeline import MemoryTimeline
from fakerun.records.memory import MemoryBlock
from tests.unit.records_by_hand import block, site, timeline


def test_nothing_allocated() -> None:
    assert footprint_of(MemoryTimeline()) == MemoryFootprint()


def test_only_empty_storages_have_no_peak() -> None:
    footprint = footprint_of(timeline([block(0)], [0, ~0], [1, 2]))
    assert footprint == MemoryFootprint(per_step_peak_bytes=(0, 0))


def test_peak_is_after_the_event_that_reached_it() -> None:
    a, b, c = block(1024, call_site=site("train.py:1")), block(2048, call_site=site("train.py:2")), block(512, call_site=site("train.py:3"))
    footprint = footprint_of(timeline([a, b, c], [0, 1, ~0, 2]))
    assert footprint.peak_bytes == 3072
    assert footprint.peak_event == 1
    assert footprint.peak_block is b
    assert footprint.alive_at_peak == (a, b)
    assert footprint.final_bytes == 2560


def test_first_of_equal_peaks_counts() -> None:
    blocks = [block(1024, module=str(step)) for step in range(3)]
    footprint = footprint_of(timeline(blocks, [0, ~0, 1, ~1, 2, ~2]))
    assert footprint.peak_event == 0
    assert footprint.peak_block is blocks[0]
    assert footprint.final_bytes == 0


def test_allocated_bytes_are_the_rounded_ones() -> None:
    footprint = footprint_of(timeline([block(1), block(513)], [0, 1]))
    assert footprint.peak_bytes == 512 + 1024


def test_resized_storage_is_freed_before_its_new_size_is_allocated() -> None:
    before, other, after = block(1024), block(512), block(4096)
    footprint = footprint_of(timeline([before, other, after], [0, 1, ~0, 2, ~2]))
    assert footprint.peak_bytes == 4608
    assert footprint.alive_at_peak == (other, after)


def test_grown_storage_that_overlaps_its_old_size_counts_both() -> None:
    footprint = footprint_of(timeline([block(1024), block(4096)], [0, 1, ~0]))
    assert footprint.peak_bytes == 5120


@pytest.mark.parametrize(
    ("events", "step_ends", "per_step", "unfinished"),
    [
        pytest.param([0, 1, ~1], [], (), 3072, id="no step completed"),
        pytest.param([0, 1, ~1], [3], (3072,), None, id="one step"),
        pytest.param([0, 1, ~1, 2, ~2], [3, 5], (3072, 1536), None, id="what was alive at the start counts"),
        pytest.param([0, 1, ~1], [3, 3], (3072, 1024), None, id="a step without events"),
        pytest.param([0, ~0], [0, 2], (0, 1024), None, id="nothing before the first step ended"),
        pytest.param([0, 1, ~1], [2], (3072,), None, id="only frees after the last step"),
        pytest.param([0, 1, ~1, 2], [3], (3072,), 1536, id="an unfinished step"),
    ],
)
def test_peaks_of_steps(events: list[int], step_ends: list[int], per_step: tuple[int, ...], unfinished: int | None) -> None:
    footprint = footprint_of(timeline([block(1024), block(2048), block(512)], events, step_ends))
    assert footprint.per_step_peak_bytes == per_step
    assert footprint.unfinished_step_peak_bytes == unfinished


@pytest.mark.parametrize("seed", range(20))
def test_random_timelines_agree_with_naive_recomputation(seed: int) -> None:
    history = _random_timeline(random.Random(seed))
    alive = [_naively_alive(history, event) for event in range(len(history.events))]
    allocated = [sum(each.nbytes for each in blocks) for blocks in alive]
    footprint = footprint_of(history)

    assert allocated_after_each_event(history) == allocated
    assert footprint.peak_bytes == max(allocated)
    assert footprint.peak_event == allocated.index(max(allocated))
    assert footprint.alive_at_peak == alive[footprint.peak_event]
    assert footprint.final_bytes == allocated[-1]
    starts = (0, *history.step_ends)
    assert footprint.per_step_peak_bytes == tuple(
        max([allocated[start - 1] if start else 0, *allocated[start:end]]) for start, end in zip(starts, history.step_ends, strict=False)
    )


@pytest.mark.parametrize("seed", range(20))
def test_devices_add_up_to_what_was_allocated_on_all(seed: int) -> None:
    history = _random_timeline(random.Random(seed), devices=3)
    footprints = footprints_by_device(history)
    whole = footprint_of(history)
    assert sum(each.final_bytes for each in footprints.values()) == whole.final_bytes
    for device, footprint in footprints.items():
        here = [
            sum(each.nbytes for each in _naively_alive(history, event) if each.device == device) for event in range(len(history.events))
        ]
        assert footprint.peak_bytes == max(here)
        assert footprint.final_bytes == here[-1]
        first = here.index(max(here))
        assert footprint.alive_at_peak == tuple(each for each in _naively_alive(history, first) if each.device == device)
        starts = (0, *history.step_ends)
        assert footprint.per_step_peak_bytes == tuple(
            max([here[start - 1] if start else 0, *here[start:end]]) for start, end in zip(starts, history.step_ends, strict=False)
        )


def test_a_timeline_of_one_device_has_the_footprint_of_the_whole() -> None:
    history = _random_timeline(random.Random(0))
    assert footprints_by_device(history) == {0: footprint_of(history)}
    assert footprints_by_device(MemoryTimeline()) == {}


def test_a_step_that_ends_among_events_of_another_device() -> None:
    blocks = [block(1024), block(2048, device=1), block(512)]
    footprints = footprints_by_device(timeline(blocks, [0, 1, 2, ~1], [2, 4]))
    assert footprints[0].per_step_peak_bytes == (1024, 1536)
    assert footprints[1].per_step_peak_bytes == (2048, 2048)
    assert footprints[1].final_bytes == 0
    assert footprints[1].unfinished_step_peak_bytes is None


def test_alive_after_an_early_event() -> None:
    a, b = block(512), block(1024)
    assert alive_after(timeline([a, b], [0, 1, ~0]), 0) == (a,)


def _random_timeline(chance: random.Random, devices: int = 1) -> MemoryTimeline:
    blocks: list[MemoryBlock] = []
    events: list[int] = []
    alive: list[int] = []
    for _ in range(chance.randrange(1, 200)):
        if alive and chance.random() < 0.45:
            events.append(~alive.pop(chance.randrange(len(alive))))
        else:
            alive.append(len(blocks))
            events.append(len(blocks))
            blocks.append(block(chance.randrange(1, 5000), device=chance.randrange(devices)))
    step_ends = sorted(chance.randrange(len(events) + 1) for _ in range(chance.randrange(4)))
    return timeline(blocks, events, step_ends)


def _naively_alive(history: MemoryTimeline, event: int) -> tuple[MemoryBlock, ...]:
    seen = history.events[: event + 1]
    return tuple(history.blocks[index] for index in range(len(history.blocks)) if index in seen and ~index not in seen)
