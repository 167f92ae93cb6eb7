"""How a step fills the host, streams and communicators, in columns."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fakerun.analysis.time.step_time import TimeKind
from fakerun.analysis.time.timeline.occupancy import Layer, StepOccupancy, shown_classes, step_occupancy
from fakerun.analysis.time.timeline.spans import RankTimeline, Timeline
from fakerun.records.collective import CollectiveOp, Phase
from tests.unit.records_by_hand import collective
from tests.unit.timelines_by_hand import ADAM, ADD, MATMUL, Called, Ran, first_stage, rank_timeline, second_stage


def filled(occupancy: StepOccupancy) -> dict[str, dict[Layer, float]]:
    """Microseconds by row and layer."""
    return {
        track.name: {
            layer: round(sum(shares) / len(shares) * occupancy.seconds * 1e6, 3) for layer, shares in track.layers.items() if any(shares)
        }
        for track in occupancy.tracks
    }


def test_rows_of_a_step() -> None:
    assert filled(step_occupancy(first_stage(), 100)) == {
        "host": {Layer.ISSUING: 150, Layer.WAITING_FOR_DEVICE: 420},
        "default stream": {Layer.OTHER_KERNELS: 65, Layer.MATRIX_PRODUCT: 400, Layer.OPTIMIZER: 140},
        "stream 1": {Layer.OTHER_KERNELS: 40.2},
        "NCCL pp": {Layer.EXPOSED: 70, Layer.WAITING_FOR_RANKS: 130},
        "NCCL dp": {Layer.EXPOSED: 150, Layer.HIDDEN: 90},
    }


@pytest.mark.parametrize("columns", [1, 7, 1000])
def test_the_number_of_columns_changes_no_sum(columns: int) -> None:
    occupancy = step_occupancy(second_stage(), columns)
    assert all(len(shares) == columns and max(shares) <= 1 for track in occupancy.tracks for shares in track.layers.values())
    of_layers = {layer: round(sum(row.get(layer, 0) for row in filled(occupancy).values()), 2) for layer in Layer}
    assert of_layers == {layer: round(seconds * 1e6, 2) for layer, seconds in occupancy.layer_s.items()}


def test_phases_follow_the_kernels() -> None:
    phases = step_occupancy(first_stage(), 10).phases
    assert [(round(start * 1e6), round(end * 1e6), phase) for start, end, phase in phases] == [
        (20, 40, Phase.OTHER),
        (40, 500, Phase.FORWARD),
        (500, 860, Phase.BACKWARD),
        (860, 1000, Phase.OPTIMIZER),
    ]


def test_columns_of_a_window_leave_the_seconds_of_the_step() -> None:
    rank = second_stage()
    window = (rank.begin_s - 1e-3, rank.end_s + 2e-3)
    wide, own = step_occupancy(rank, 500, window), step_occupancy(rank, 500)
    assert (wide.begin_s, wide.end_s) == window
    assert wide.layer_s == own.layer_s
    kernels = own.layer_s[Layer.MATRIX_PRODUCT]
    (track,) = (track for track in wide.tracks if track.name == "default stream")
    assert sum(track.layers[Layer.MATRIX_PRODUCT]) / 500 * wide.seconds == pytest.approx(kernels)


def class_of(number: int, end: float, calls: Sequence[Called] = ()) -> RankTimeline:
    return rank_timeline(number, (number,), [Ran(ADD, 0, 0, end / 2, Phase.FORWARD)], calls, end=end, host=(0, 1))


def shown(classes: Sequence[RankTimeline], most: int) -> list[int]:
    timeline = Timeline(step=1, is_first_step=False, ranks=tuple(classes))
    return [rank.representative for rank in shown_classes(timeline, most)]


def test_the_slowest_class_is_shown_first_and_the_others_by_rank() -> None:
    classes = [class_of(number, end) for number, end in enumerate([50, 90, 40, 70])]
    assert shown(classes, 8) == [1, 0, 2, 3]
    assert shown(classes, 2) == [1, 3]


def test_all_stages_of_a_pipeline_are_shown_before_more_classes_of_one() -> None:
    """Stages 0 to 2 are the ranks 0 and 1, 2 and 3, 4 and 5."""

    def sends(number: int) -> list[Called]:
        peers = range(number % 2, 6, 2)
        call = collective(op=CollectiveOp.SEND, group="pp", group_ranks=tuple(peers), peer=(number + 2) % 6)
        return [Called(call, 0, 1, 1, 2, communicator=0)]

    classes = [class_of(number, end, sends(number)) for number, end in enumerate([100, 99, 60, 61, 50, 51])]
    assert shown(classes, 3) == [0, 3, 5]
    assert shown(classes, 4) == [0, 1, 3, 5]


def test_calls_of_groups_with_one_label_share_a_row() -> None:
    calls = [Called(collective(group="tp", process_group=str(n)), 0, 10, 10, 60, communicator=n) for n in range(2)]
    rank = rank_timeline(0, (0,), [Ran(ADD, 0, 50, 100, Phase.FORWARD)], calls, end=100, host=(0, 1))
    assert filled(step_occupancy(rank, 10))["NCCL tp"] == {Layer.EXPOSED: 40, Layer.HIDDEN: 10}


def test_random_steps_have_the_exposed_seconds_of_the_step_time() -> None:
    """Of one communicator: calls of several may overlap, and the step counts their time once."""
    from fakerun.analysis.time.time_by_kind import TimeByKind

    chosen = random.Random(7)
    for _ in range(30):
        rank = rank_timeline(0, (0,), random_operations(chosen), random_calls(chosen), end=1000, host=(0, 900))
        kinds, layers = TimeByKind(rank).kinds, step_occupancy(rank, 50).layer_s
        assert layers[Layer.EXPOSED] == pytest.approx(kinds[TimeKind.EXPOSED_COMMUNICATION])
        assert layers[Layer.WAITING_FOR_RANKS] == pytest.approx(kinds[TimeKind.WAITING] + kinds[TimeKind.BUBBLE])


def random_operations(chosen: random.Random) -> list[Ran]:
    ran = []
    for stream in range(2):
        time = 0.0
        while (start := time + chosen.choice([0, 0, 5, 40])) < 900 and (time := start + chosen.uniform(1, 90)) < 1000:
            ran.append(Ran(chosen.choice([MATMUL, ADD, ADAM]), start, start, time, chosen.choice(list(Phase)), stream=stream))
    return sorted(ran, key=lambda each: each.issued)


def random_calls(chosen: random.Random) -> Sequence[Called]:
    called = []
    time = 0.0
    while time < 800:
        arrived = time + chosen.uniform(0, 50)
        start = arrived + chosen.choice([0, 30])
        time = start + chosen.uniform(1, 100)
        called.append(Called(replace(collective(), is_async=True), arrived, arrived, start, min(time, 1000), communicator=0))
    return called
