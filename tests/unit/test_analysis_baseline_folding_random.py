"""Random schedules: folding loses nothing, and the text of a baseline gives it back."""

import random
from pathlib import Path
from types import MappingProxyType

import pytest

from fakerun.analysis.baseline.baseline import Baseline, Call, ClassBaseline, JobLine, Part, Repeat, Schedule
from fakerun.analysis.baseline.call_changes import call_changes
from fakerun.analysis.baseline.calls import call_line, parsed_call
from fakerun.analysis.baseline.folding import counted, folded, unfolded
from fakerun.analysis.baseline.text import baseline_text, parsed_baseline
from fakerun.job.tolerances import EXACT
from fakerun.job.yaml_document import YamlDocument
from fakerun.records.collective import CollectiveOp, Phase

NAMES = ("dp", "a name", '"quoted"', "-", "B", "on", "(8)", "", "ä\\n", "x: y # z", "layers.*.mlp", "<locals>.f", "12 x", "None")


def random_call(numbers: random.Random) -> Call:
    """Any call: names may be anything that a program can choose."""

    def maybe(value: object) -> object:
        return value if numbers.random() < 0.7 else None

    return Call(
        op=numbers.choice(list(CollectiveOp)).value,
        reduce_op=maybe(numbers.choice(NAMES)),  # type: ignore[arg-type]
        dtype=numbers.choice(("float32", "bfloat16", "")),
        nbytes=numbers.randrange(10 ** numbers.randrange(1, 18)),
        group=maybe(numbers.choice(NAMES)),  # type: ignore[arg-type]
        group_size=numbers.randrange(1, 20_000),
        peer=maybe(numbers.randrange(9)),  # type: ignore[arg-type]
        root=maybe(numbers.randrange(9)),  # type: ignore[arg-type]
        phase=numbers.choice(list(Phase)),
        module=maybe(numbers.choice(NAMES)),  # type: ignore[arg-type]
        function=maybe(numbers.choice(NAMES)),  # type: ignore[arg-type]
    )


def random_calls(numbers: random.Random, calls: list[Call], depth: int = 3) -> list[Call]:
    """Calls with repetitions inside repetitions."""
    if not depth or numbers.random() < 0.2:
        return [numbers.choice(calls)]
    body = [call for _ in range(numbers.randrange(1, 4)) for call in random_calls(numbers, calls, depth - 1)]
    return body * numbers.randrange(1, 5)


@pytest.mark.parametrize("seed", range(60))
def test_folding_loses_nothing(seed: int) -> None:
    numbers = random.Random(seed)
    calls = random_calls(numbers, [random_call(numbers) for _ in range(3)], depth=4)
    items = folded(calls)
    assert list(unfolded(items)) == calls
    assert sum(counted(items).values()) == len(calls)
    assert folded(calls) == items
    assert not call_changes(Schedule((Part("each step", items),)), Schedule((Part("each step", tuple(calls)),)), EXACT)


@pytest.mark.parametrize("seed", range(200))
def test_a_call_is_read_back_from_its_line(seed: int) -> None:
    call = random_call(random.Random(seed))
    assert parsed_call(call_line(call)) == call


@pytest.mark.parametrize("seed", range(30))
def test_a_baseline_is_read_back_from_its_text(seed: int, tmp_path: Path) -> None:
    numbers = random.Random(seed)
    calls = [random_call(numbers) for _ in range(4)]
    schedules = [
        Schedule(tuple(Part(name, folded(random_calls(numbers, calls, depth=4))) for name in ("before the first step", "each step")))
        for _ in range(numbers.randrange(1, 12))
    ]
    baseline = Baseline(
        job=JobLine(program="train.py --x 'y'", ranks="8", hardware="h100-80gb", mesh="none", steps="2", made_with="x"),
        classes=tuple(
            ClassBaseline(
                ranks=f"pp={at}", count=1, ended="", schedule=schedule, traffic=MappingProxyType({}), devices=MappingProxyType({})
            )
            for at, schedule in enumerate(schedules)
        ),
    )
    text = baseline_text(baseline)
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    assert parsed_baseline(YamlDocument(tmp_path / "x.yaml")) == baseline
    assert baseline_text(baseline) == text


def test_microbatches_of_layers_are_two_lines() -> None:
    numbers = random.Random(0)
    gather, send = random_call(numbers), random_call(numbers)
    assert folded(([gather] * 8 + [send]) * 16) == (Repeat(16, (Repeat(8, (gather,)), send)),)
