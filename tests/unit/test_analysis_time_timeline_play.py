"""Pipeline schedules on equal stages have the bubbles of their papers.

1F1B: Narayanan et al., PipeDream (SOSP 2019); its bubble and that of the interleaved schedule: Narayanan et al., Efficient Large-Scale
Language Model Training on GPU Clusters (SC 2021), section 2.2. ZB-H1: Qi et al., Zero Bubble Pipeline Parallelism (ICLR 2024), table 1.
"""

from collections.abc import Callable, Sequence

import pytest

from fakerun.analysis.time.step_time import TimeKind
from fakerun.records.collective import Phase
from tests.unit.steps_by_hand import RankByHand, played

Work = tuple[str, int, int]
"""Forward ("F"), backward ("B") or the gradients of weights ("W"); the microbatch; the chunk of the stage's model."""


def one_forward_one_backward(stage: int, stages: int, microbatches: int) -> list[Work]:
    warmup = min(stages - stage, microbatches)
    works: list[Work] = [("F", number, 0) for number in range(warmup)]
    for number in range(microbatches):
        works.append(("B", number, 0))
        if warmup + number < microbatches:
            works.append(("F", warmup + number, 0))
    return works


def interleaved(stage: int, stages: int, microbatches: int, chunks: int) -> list[Work]:
    """Microbatches go through the chunks in groups of as many as there are stages, backward through the last chunk first."""
    count = microbatches * chunks
    warmup = min(2 * (stages - stage - 1) + (chunks - 1) * stages, count)

    def work(kind: str, number: int) -> Work:
        group, within = divmod(number, stages * chunks)
        chunk = within // stages
        return kind, group * stages + within % stages, chunk if kind == "F" else chunks - 1 - chunk

    works = [work("F", number) for number in range(warmup)]
    for number in range(count):
        if warmup + number < count:
            works.append(work("F", warmup + number))
        works.append(work("B", number))
    return works


def zero_bubble(stage: int, stages: int, microbatches: int) -> list[Work]:
    """ZB-H1: as 1F1B, with the gradients of weights later by as many microbatches as there are stages before, the last at the end."""
    works: list[Work] = []
    done = 0
    for kind, number, _ in one_forward_one_backward(stage, stages, microbatches):
        works.append((kind, number, 0))
        if kind == "B" and number >= stage:
            works.append(("W", done, 0))
            done += 1
    return works + [("W", number, 0) for number in range(done, microbatches)]


SECONDS = {"F": 2, "B": 4, "W": 2}


def stage_rank(stage: int, stages: int, works: Sequence[Work], chunks: int, seconds: dict[str, int], steps: int) -> RankByHand:
    """Messages take no time. Activations and gradients have communicators of their own, so that no receive is behind a send."""
    rank = RankByHand(stage, group=range(stages))
    last = stages * chunks - 1
    for _ in range(steps):
        rank.phase(Phase.FORWARD)
        for kind, _, chunk in works:
            place = chunk * stages + stage
            if kind == "F" and place > 0:
                rank.recv(0, peer=(stage - 1) % stages, label="pp_forward")
            if kind == "B" and place < last:
                rank.recv(0, peer=(stage + 1) % stages, label="pp_backward")
            rank.op(seconds[kind])
            if kind == "F" and place < last:
                rank.send(0, peer=(stage + 1) % stages, label="pp_forward", wait=False)
            if kind == "B" and place > 0:
                rank.send(0, peer=(stage - 1) % stages, label="pp_backward", wait=False)
        rank.end_step()
    return rank


def check(
    stages: int, schedule: Callable[[int], Sequence[Work]], seconds: dict[str, int], work_s: float, bubble_s: float, *, chunks: int = 1
) -> None:
    """Whether each stage works so long and has so long a bubble, in the first step and in a later one."""
    for steps in (1, 3):
        _, step = played(*(stage_rank(stage, stages, schedule(stage), chunks, seconds, steps) for stage in range(stages)))
        assert step.seconds == work_s + bubble_s
        assert sum(entry.seconds for entry in step.critical_path) == step.seconds
        for rank in step.ranks:
            idle = step.seconds - rank.seconds  # after its end, in the first step: the later stages end first
            assert rank.kinds == {**dict.fromkeys(TimeKind, 0), TimeKind.COMPUTE: work_s, TimeKind.BUBBLE: bubble_s - idle}
            if steps > 1:
                assert idle == 0


@pytest.mark.parametrize(("stages", "microbatches"), [(1, 4), (2, 2), (4, 4), (4, 8), (8, 32)])
def test_1f1b(stages: int, microbatches: int) -> None:
    """The bubble is (p - 1) of m + p - 1 slots."""
    work_s = microbatches * 6
    check(
        stages,
        lambda stage: one_forward_one_backward(stage, stages, microbatches),
        {"F": 2, "B": 4},
        work_s,
        (stages - 1) / microbatches * work_s,
    )


@pytest.mark.parametrize(("stages", "microbatches", "chunks"), [(3, 6, 2), (4, 4, 2), (4, 8, 2), (4, 16, 3), (8, 16, 4)])
def test_interleaved_1f1b(stages: int, microbatches: int, chunks: int) -> None:
    """The bubble is smaller by the number of chunks, each of which takes as long as the whole stage of the others / chunks."""
    work_s = microbatches * chunks * 6
    bubble_s = (stages - 1) / (microbatches * chunks) * work_s
    check(
        stages,
        lambda stage: interleaved(stage, stages, microbatches, chunks),
        {"F": 2, "B": 4},
        work_s,
        bubble_s,
        chunks=chunks,
    )


@pytest.mark.parametrize(("stages", "microbatches"), [(2, 4), (4, 8), (4, 12), (8, 32)])
def test_zero_bubble_h1(stages: int, microbatches: int) -> None:
    """The bubble is (p - 1)(F + B - W), B and W being the two halves of backward: a third of that of 1F1B if all three are equal."""
    seconds = {"F": 2, "B": 2, "W": 2}
    check(stages, lambda stage: zero_bubble(stage, stages, microbatches), seconds, microbatches * 6, (stages - 1) * 2)
