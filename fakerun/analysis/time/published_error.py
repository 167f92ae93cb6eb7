"""How far predictions are from step times that others published, for runs of the same kind: `published_runs.yaml`.

A sum of kernel times misses what a published run has beside them: clocks that sink under load, stragglers, kernels below their best. It is
a nearly constant share of the step, so one constant, the share of a published step that the sum explains, is taken from a few rows and
divides every prediction. It comes from runs on other people's machines, which a report has to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from math import exp, log
from pathlib import Path
from statistics import mean
from typing import Any

DATA_FILE = Path(__file__).with_name("published_runs.yaml")


class RunFeature(StrEnum):
    """What sets a run apart from a dense model of 10^9 parameters or more, run eagerly by software of 2024 or later."""

    COMPILED = "compiled"
    PIPELINE = "pipeline"
    FLOAT8 = "float8"
    EXPERTS = "experts"
    SMALL = "small"
    OLDER_SOFTWARE = "older software"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKind:
    """What decides how far a prediction may be off. `generation` is the major number of the card's compute capability: 9 is Hopper."""

    generation: int
    features: frozenset[RunFeature] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRun:
    """One published step time, and the sum that was predicted for it. Both in seconds."""

    id: str
    kind: RunKind
    hardware: str
    published_s: float
    predicted_s: float
    gives_constant: bool
    source: str

    @property
    def explained(self) -> float:
        """The share of the published time that the sum explains."""
        return self.predicted_s / self.published_s


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedError:
    """What published runs of one kind say of a prediction: the step takes between `low` and `high` times the sum over `constant`.

    `runs` are those that were compared. `same_generation` is False if none of them has the kind and ran on the generation of cards.
    """

    constant: float
    low: float
    high: float
    runs: tuple[PublishedRun, ...]
    same_generation: bool

    @property
    def sources(self) -> tuple[str, ...]:
        """Where the runs were published, each once."""
        return tuple(dict.fromkeys(run.source for run in self.runs))


@cache
def published_runs() -> tuple[PublishedRun, ...]:
    """All of fakerun's data file."""
    return load_published_runs(DATA_FILE)


def load_published_runs(path: Path) -> tuple[PublishedRun, ...]:
    """The rows of a data file.

    Raises:
        ValueError: a feature is not known.
        KeyError: a row lacks a figure.
    """
    import yaml

    document = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return tuple(map(_run, document["runs"]))


def _run(row: dict[str, Any]) -> PublishedRun:
    kind = RunKind(generation=row["generation"], features=frozenset(map(RunFeature, row["features"])))
    return PublishedRun(
        id=row["id"],
        kind=kind,
        hardware=row["hardware"],
        published_s=row["published_s"],
        predicted_s=row["predicted_s"],
        gives_constant=row["constant"],
        source=row["source"],
    )


def published_constant(runs: Sequence[PublishedRun]) -> float | None:
    """The geometric mean of what is explained of the rows that give the constant; None if there are none."""
    shares = [log(run.explained) for run in runs if run.gives_constant]
    return exp(mean(shares)) if shares else None


def published_error(kind: RunKind, runs: Sequence[PublishedRun] | None = None) -> PublishedError | None:
    """What the published runs of this kind say; None if there is no constant, or none was compared.

    Runs with the same features count, of the same generation of cards if there are any. Else those of all cards do, together with those on
    this generation that differ in being compiled alone: what is missed there is missed here.
    """
    known = published_runs() if runs is None else runs
    constant = published_constant(known)
    alike = tuple(run for run in known if run.kind.features == kind.features)
    if constant is None or not alike:
        return None
    same = tuple(run for run in alike if run.kind.generation == kind.generation)
    near = (run for run in known if run.kind.generation == kind.generation and run.kind.features ^ kind.features == {RunFeature.COMPILED})
    counted = same or (*alike, *near)
    ratios = [constant / run.explained for run in counted]
    return PublishedError(
        constant=constant,
        low=min(1.0, *ratios),
        high=max(1.0, *ratios),
        runs=counted,
        same_generation=bool(same),
    )
