"""Predicted step times beside published ones: runs the programs of step_time_rows.yaml, and writes a part of docs/accuracy.md.

    git clone https://github.com/pytorch/torchtitan
    git clone https://github.com/KellerJordan/modded-nanogpt
    python scripts/dev/step_time.py --torchtitan torchtitan --modded-nanogpt modded-nanogpt --runs runs -o docs/accuracy.md

Fetches nothing. Of torchtitan it takes each row's commit and trains with it on zeros; that of 2025 needs tyro, and float8 torchao of the
version in the row, in directories of --packages (DIRECTORY, or torchao-VERSION=DIRECTORY). Run directories are kept in --runs, and what is
there is priced without being run again; --only-price runs nothing.
--published-runs FILE writes what fakerun itself carries of this (fakerun/analysis/time/published_runs.yaml).
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dev.generated_part import write_part
from dev.published_programs import REPOSITORY, Clone, Program, simulate, torchtitan_program

from fakerun.analysis.time.estimate import NoEstimate
from fakerun.analysis.time.published_error import PublishedRun, RunFeature, RunKind, published_constant
from fakerun.analysis.time.step_time import StepTime, TimeKind
from fakerun.hardware.request import parse_hardware
from fakerun.launch.run_directory import find_run_directory
from fakerun.records.run import RunRecord
from fakerun.report.build_time import step_played_on

ROWS = Path(__file__).with_name("step_time_rows.yaml")
NANOGPT_ON_ZEROS = Path(__file__).with_name("published") / "modded_nanogpt_on_zeros.py"
STEPS = 2
HEADING = "## Step time"
LARGEST_ERROR = 0.10
"""What each dense run should be predicted within, with the constant."""
CLEAR_DIFFERENCE = 0.01
"""Of published steps: what differs by less may be the other way round the next time."""
TOLD_APART = 0.0005
"""Predictions that differ by less are the same to the figures of the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published run, as step_time_rows.yaml explains its keys."""

    id: str
    what: str
    group: str
    published_s: float
    source: str
    hardware: str
    world_size: int
    program: Mapping[str, Any]
    features: Sequence[str] = ()
    torch_behaviour: str | None = None
    ranks: str | None = None
    constant: bool = False
    note: str = ""

    @property
    def kind(self) -> RunKind:
        generation, _ = parse_hardware(self.hardware).compute_capability
        return RunKind(generation=generation, features=frozenset(map(RunFeature, self.features)))


@dataclass(frozen=True, kw_only=True)
class Priced:
    """A row, and the step that is predicted for it without any constant."""

    row: Row
    step: StepTime

    @cached_property
    def published(self) -> PublishedRun:
        return PublishedRun(
            id=self.row.id,
            kind=self.row.kind,
            hardware=self.row.hardware,
            published_s=self.row.published_s,
            predicted_s=round(self.step.seconds, 4),  # as the data file has it: the page follows from that
            gives_constant=self.row.constant,
            source=self.row.source,
        )

    def error(self, constant: float) -> float:
        """Of the published time: 0.01 is one per cent too slow."""
        return self.published.explained / constant - 1


def program_of(row: Row, torchtitan: Clone | None, nanogpt: Clone | None) -> Program | None:
    """The program of a row; None if the clone that has it is not there."""
    if (run := row.program.get("torchtitan")) is not None:
        return None if torchtitan is None else torchtitan_program(torchtitan, row.id, run, row.program.get("options", ()))
    if (run := row.program.get("modded_nanogpt")) is not None:
        if nanogpt is None:
            return None
        script = nanogpt.checkout(run["commit"], [run["script"]]) / run["script"]
        return Program(script=NANOGPT_ON_ZEROS, arguments=[str(script)])
    return Program(script=REPOSITORY / row.program["script"], arguments=row.program["args"])


def options_of(row: Row) -> list[str]:
    """Fakerun's options for a row."""
    options = ["--world-size", str(row.world_size), "--hardware", row.hardware]
    options += [] if row.torch_behaviour is None else ["--torch-behaviour", row.torch_behaviour]
    return options + ([] if row.ranks is None else ["--ranks", row.ranks])


def packages_of(row: Row, directories: Sequence[str]) -> Sequence[str]:
    """Those of the directories that the row's program may import from: all without a version, and those of the versions that it needs."""
    needed = {f"{name}-{version}" for name, version in row.program.get("packages", {}).items()}
    named = [directory.rpartition("=") for directory in directories]
    return [path for version, _, path in named if not version or version in needed]


def recorded(directory: Path) -> RunRecord | None:
    """The records of a run that is there already."""
    if not directory.exists():
        return None
    found = find_run_directory(directory)
    run = found.read_run(found.read_job())
    return run if run.ranks and all(rank.failure is None and rank.steps >= STEPS for rank in run.ranks) else None


def step_of(row: Row, run: RunRecord) -> StepTime:
    """The step of a run, played.

    Raises:
        RuntimeError: it cannot be played.
    """
    hardware = parse_hardware(row.hardware)
    ranks_per_node = min(row.world_size, hardware.interconnect.devices_per_node or row.world_size)
    played = step_played_on(hardware, ranks_per_node, run.ranks, ())
    if isinstance(played, NoEstimate):
        raise RuntimeError(f"{row.id}: no step time: {played.reason}")
    return played.summed


def per_cent(fraction: float) -> str:
    return f"{100 * fraction:+.1f} %".replace("-0.0 %", "+0.0 %")


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{'---|' * len(heading)}"
    for line in lines:
        yield f"| {' | '.join(line)} |"


def rows_table(priced: Sequence[Priced], constant: float) -> Iterator[str]:
    """Every row: published, the sum, its error, the step with the constant, its error, and what the step is spent on."""
    heading = ("Run", "Published", "Sum", "Error", "With the constant", "Error", "Compute", "Optimizer", "Exposed", "Waiting", "Host")
    lines = []
    for number, each in enumerate(priced, 1):
        step = each.step
        kinds = step.slowest.kinds
        shares = (
            kinds[TimeKind.COMPUTE] + kinds[TimeKind.CONTENTION],
            kinds[TimeKind.OPTIMIZER],
            kinds[TimeKind.EXPOSED_COMMUNICATION],
            kinds[TimeKind.BUBBLE] + kinds[TimeKind.WAITING],
            kinds[TimeKind.HOST],
        )
        lines.append(
            [
                f"{each.row.what} [{number}]",
                f"{each.row.published_s:.3f}",
                f"{step.seconds:.3f}",
                per_cent(each.error(1.0)),
                f"{step.seconds / constant:.3f}",
                f"**{per_cent(each.error(constant))}**" + (" (gives the constant)" if each.row.constant else ""),
                *(f"{100 * share / step.seconds:.0f} %" for share in shares),
            ]
        )
    yield from table(heading, lines)


def groups_table(priced: Sequence[Priced], constant: float) -> Iterator[str]:
    """By group of rows: the median of the errors' sizes, and the worst."""
    lines = []
    for group in dict.fromkeys(each.row.group for each in priced):
        members = [each for each in priced if each.row.group == group]
        cells = [group, str(len(members))]
        for share in (1.0, constant):
            errors = [each.error(share) for each in members]
            cells += [f"{100 * median(map(abs, errors)):.1f} %", per_cent(max(errors, key=abs))]
        lines.append(cells)
    heading = ("Group", "Runs", "Sum: median", "worst", "With the constant: median", "worst")
    yield from table(heading, lines)


def left_out(priced: Sequence[Priced]) -> Iterator[str]:
    """The error of each dense row if the constant came from the other dense rows: what it costs not to have chosen the rows."""
    dense = [each for each in priced if each.row.group == "dense"]
    if len(dense) < 2:
        return
    errors = []
    for each in dense:
        others = [other.published for other in dense if other is not each]
        shares = sorted(other.explained for other in others)
        errors.append(each.error(median(shares)))
    middle, worst = 100 * median(map(abs, errors)), per_cent(max(errors, key=abs))
    constant = published_constant([each.published for each in priced]) or 1.0
    within = sum(abs(each.error(constant)) <= LARGEST_ERROR for each in dense)
    yield f"With the constant {within} of the {len(dense)} dense runs are within {100 * LARGEST_ERROR:.0f} %."
    yield f"With the median share of the other dense rows as the constant, each row left out in turn: median {middle:.1f} %, worst {worst}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two rows that differ in one setting: the step of the one that was published as faster over that of the other, less one."""

    what: str
    published: float
    predicted: float

    @property
    def is_right(self) -> bool:
        return self.predicted < -TOLD_APART

    @property
    def order(self) -> str:
        return "right" if self.is_right else "**wrong**" if self.predicted > TOLD_APART else "**not told apart**"


def pairs_of(sets: Sequence[Mapping[str, Any]], priced: Sequence[Priced]) -> Iterator[Pair]:
    """Every two rows of each set, of those that were priced. With `sequences` the times of a sequence are compared."""
    by_id = {each.row.id: each for each in priced}
    for one in sets:
        per_sequence = any("sequences" in row for row in one["rows"])
        timed = []
        for row in one["rows"]:
            if (run := by_id.get(row["id"])) is not None:
                count = row.get("sequences", 1)
                timed.append((run.row.published_s / count, run.published.predicted_s / count, row["is"]))
        for faster, slower in combinations(sorted(timed), 2):
            yield Pair(
                what=f"{one['what']}: {faster[2]}, {slower[2]}" + ("; for each sequence" if per_sequence else ""),
                published=faster[0] / slower[0] - 1,
                predicted=faster[1] / slower[1] - 1,
            )


def pairs_table(pairs: Sequence[Pair]) -> Iterator[str]:
    """Pairs of rows, and how many are in the right order."""
    clear = [pair for pair in pairs if pair.published < -CLEAR_DIFFERENCE]
    yield (
        f"{sum(pair.is_right for pair in pairs)} of the {len(pairs)} pairs are in the right order; of the {len(clear)} that differ by "
        f"more than {100 * CLEAR_DIFFERENCE:.0f} % as published, {sum(pair.is_right for pair in clear)}."
    )
    yield ""
    lines = [[pair.what, per_cent(pair.published), per_cent(pair.predicted), pair.order] for pair in pairs]
    yield from table(("Pair, the faster one first", "Published", "Predicted", "Order"), lines)


def notes(priced: Sequence[Priced]) -> Iterator[str]:
    for number, each in enumerate(priced, 1):
        yield " ".join(filter(None, [f"{number}. `{each.row.id}`: {each.row.source}.", each.row.note]))


def page(priced: Sequence[Priced], document: Mapping[str, Any], constant: float) -> Iterator[str]:
    counted = [each for each in priced if each.row.constant]
    there = {each.row.id for each in priced}
    yield from (
        HEADING,
        "",
        "Steps of training runs that others published, beside the step that fakerun predicts for their programs. Written by",
        "`scripts/dev/step_time.py`; the rows, their programs and their sources are in `scripts/dev/step_time_rows.yaml`.",
        "",
        f"Simulated with torch {version('torch')}, {STEPS} optimizer steps, of which the last is played. The *sum* has no constant.",
        f"The constant is the share of the published step that the sum explains, {constant:.3f}, taken from {len(counted)} rows alone:",
        f"{', '.join(f'`{each.row.id}`' for each in counted)}.",
        "It comes from other people's machines. An error above 0 is a step that is predicted too slow.",
        "What products and attention of a B200 reach without a pause comes from the publisher of its rows; no step was used for it.",
        "What products reach on an H100 of 96 GB is the catalogue's 0.60 of the peak for all rows; the file that it is from has 0.78 since",
        "March 2025. Which one was chosen with the errors in sight; the notes of the rows from then on have those with the other.",
        "",
        *groups_table(priced, constant),
        "",
        *left_out(priced),
        "",
        "### Runs",
        "",
        "Seconds of a step; the last columns are shares of the sum, of the rank that takes longest.",
        "",
        *rows_table(priced, constant),
        "",
        "### Order",
        "",
        "Of two runs that differ in one setting, the step of the faster one relative to that of the slower one.",
        "",
        *pairs_table(list(pairs_of(document["sets"], priced))),
        "",
        "### Sources and notes of step times",
        "",
        *notes(priced),
        "",
        "Not predicted:",
        "",
        *(f"- `{each['id']}`: {each['why']}" for each in document["left_out"]),
        *(f"- `{row['id']}`: {row['what']}; its program was not run for this page." for row in document["rows"] if row["id"] not in there),
        "",
    )


def published_runs_file(priced: Sequence[Priced], comment: str) -> str:
    """What fakerun carries, with the comment that the file has now."""
    lines = [comment.rstrip(), "runs:"]
    for each in priced:
        run = each.published
        features = ", ".join(sorted(feature.value for feature in run.kind.features))
        lines += [
            f"  - id: {run.id}",
            f"    generation: {run.kind.generation}",
            f"    features: [{features}]",
            f"    hardware: {run.hardware}",
            f"    published_s: {run.published_s}",
            f"    predicted_s: {run.predicted_s:.4f}",
            f"    constant: {str(run.gives_constant).lower()}",
            f'    source: "{run.source}"',
        ]
    return "\n".join(lines) + "\n"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predict published step times.")
    parser.add_argument("--torchtitan", type=Path, help="a git repository of torchtitan")
    parser.add_argument("--modded-nanogpt", type=Path, help="a git repository of modded-nanogpt")
    parser.add_argument("--packages", action="append", default=[], help="directory to import from, of all rows or NAME-VERSION=DIRECTORY")
    parser.add_argument("--rows", type=lambda text: text.split(","), help="ids, separated by commas; by default all")
    parser.add_argument("--runs", type=Path, required=True, help="keep the run directories here, and take what is here already")
    parser.add_argument("--only-run", action="store_true", help="run the programs and price nothing")
    parser.add_argument("--only-price", action="store_true", help="price the runs that are there")
    parser.add_argument("--published-runs", type=Path, help="file of fakerun to write")
    parser.add_argument("-o", "--output", type=Path, help="page whose part to write; by default standard output")
    return parser.parse_args()


def runs_of(args: argparse.Namespace, rows: Sequence[Row]) -> Iterator[tuple[Row, RunRecord]]:
    """The rows whose programs ran, now or before; what failed is said on standard error."""
    scratch = args.runs.resolve()
    scratch.mkdir(parents=True, exist_ok=True)
    torchtitan = None if args.torchtitan is None else Clone(args.torchtitan, scratch)
    nanogpt = None if args.modded_nanogpt is None else Clone(args.modded_nanogpt, scratch)
    for row in rows:
        if args.rows is not None and row.id not in args.rows:
            continue
        run = recorded(scratch / row.id)
        program = None if run is not None or args.only_price else program_of(row, torchtitan, nanogpt)
        if program is not None:
            print(f"{row.id} ...", file=sys.stderr, flush=True)
            try:
                run = simulate(program, scratch / row.id, options_of(row), STEPS, packages_of(row, args.packages))
            except RuntimeError as error:
                print(error, file=sys.stderr, flush=True)
        if run is not None:
            yield row, run


def main() -> None:
    args = parse_args()
    document = yaml.safe_load(ROWS.read_text(encoding="utf-8"))
    rows = [Row(**row) for row in document["rows"]]
    priced = [Priced(row=row, step=step_of(row, run)) for row, run in runs_of(args, rows) if not args.only_run]
    constant = published_constant([each.published for each in priced])
    if args.only_run:
        return
    text = "\n".join(page(priced, document, constant or 1.0))
    if args.output is None:
        print(text)
    else:
        write_part(args.output, HEADING, text)
    if args.published_runs is not None:
        comment = args.published_runs.read_text(encoding="utf-8").partition("runs:")[0]
        args.published_runs.write_text(published_runs_file(priced, comment), encoding="utf-8")


if __name__ == "__main__":
    main()
