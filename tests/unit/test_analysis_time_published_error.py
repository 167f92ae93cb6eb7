"""What published runs say of a prediction: by hand-made rows, and the data file itself."""

from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.analysis.time.published_error import (
    PublishedRun,
    RunFeature,
    RunKind,
    load_published_runs,
    published_constant,
    published_error,
    published_runs,
)

HOPPER, AMPERE, BLACKWELL = 9, 8, 10


def run(generation: int, published: float, predicted: float, *features: RunFeature, constant: bool = False) -> PublishedRun:
    return PublishedRun(
        id="row",
        kind=RunKind(generation=generation, features=frozenset(features)),
        hardware="card",
        published_s=published,
        predicted_s=predicted,
        gives_constant=constant,
        source=f"source {generation}",
    )


ROWS = (
    run(AMPERE, 1.0, 0.9, constant=True),
    run(AMPERE, 1.0, 0.4, constant=True),
    run(HOPPER, 1.0, 0.5),
    run(HOPPER, 1.0, 0.75),
    run(HOPPER, 1.0, 0.3, RunFeature.FLOAT8),
)


def test_the_constant_is_the_geometric_mean_of_its_rows_alone() -> None:
    assert published_constant(ROWS) == pytest.approx(0.6)
    assert published_constant(ROWS[2:]) is None


def test_a_step_lies_between_what_rows_of_its_kind_took() -> None:
    error = published_error(RunKind(generation=HOPPER), ROWS)
    assert error is not None
    assert [error.constant, error.low, error.high] == pytest.approx([0.6, 0.8, 1.2])
    assert error.runs == ROWS[2:4]
    assert error.same_generation
    assert error.sources == ("source 9",)


def test_the_prediction_itself_is_in_the_range() -> None:
    error = published_error(RunKind(generation=HOPPER, features=frozenset({RunFeature.FLOAT8})), ROWS)
    assert error is not None
    assert [error.low, error.high] == pytest.approx([1.0, 2.0])


def test_runs_on_other_cards_count_where_none_was_on_such_a_card() -> None:
    error = published_error(RunKind(generation=BLACKWELL), ROWS)
    assert error is not None
    assert not error.same_generation
    assert error.runs == ROWS[:4]


def test_runs_on_such_cards_that_are_compiled_otherwise_count_where_none_of_the_kind_was() -> None:
    compiled = replace(ROWS[0], id="compiled", kind=RunKind(generation=HOPPER, features=frozenset({RunFeature.COMPILED})))
    eager = replace(ROWS[0], id="eager", kind=RunKind(generation=BLACKWELL))
    error = published_error(RunKind(generation=BLACKWELL, features=frozenset({RunFeature.COMPILED})), (*ROWS, compiled, eager))
    assert error is not None
    assert not error.same_generation
    assert error.runs == (compiled, eager)


@pytest.mark.parametrize("features", [{RunFeature.PIPELINE}, {RunFeature.FLOAT8, RunFeature.COMPILED}])
def test_of_a_kind_that_nobody_published_nothing_is_said(features: set[RunFeature]) -> None:
    assert published_error(RunKind(generation=HOPPER, features=frozenset(features)), ROWS) is None


def test_without_a_constant_nothing_is_said() -> None:
    assert published_error(RunKind(generation=HOPPER), ROWS[2:]) is None


def test_the_data_file_can_be_read() -> None:
    assert len({each.id for each in published_runs()}) == len(published_runs())


def test_a_feature_that_is_not_known_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "runs.yaml"
    path.write_text("runs: [{generation: 9, features: [quick]}]", encoding="utf-8")
    with pytest.raises(ValueError, match="quick"):
        load_published_runs(path)
