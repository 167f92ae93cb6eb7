"""Predicted peaks of reserved memory beside published ones: runs the programs of accuracy_rows.yaml and writes docs/accuracy.md.

    git clone https://github.com/pytorch/torchtitan
    python scripts/dev/accuracy.py --torchtitan torchtitan -o docs/accuracy.md     # all rows, some minutes on two cores
    python scripts/dev/accuracy.py --torchtitan torchtitan --rows llama8b-fsdp8-b1-sac

Fetches nothing. Of the torchtitan repository it takes each row's commit and trains with it on zeros (torchtitan_on_zeros.py), four steps of
rank 0 under the `fakerun` command; where a script of this repository can be set as the row is, that one too. The records that the runs keep
are replayed with and without expandable segments. Without --torchtitan only our scripts run.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dev.generated_part import write_part
from dev.published_programs import REPOSITORY, Clone, Program, simulate, torchtitan_program

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.outside import outside_memory
from fakerun.analysis.memory.reserved import PoolMemory, ReservedMemory, reserved_memory, runs_out
from fakerun.hardware.catalogue import hardware_named
from fakerun.hardware.quantities import BYTES
from fakerun.records.run import RankRecord
from fakerun.units import GIB, format_bytes

HEADING = "# Accuracy"
ROWS = Path(__file__).with_name("accuracy_rows.yaml")
STEPS = 4
EXPANDABLE = {True: AllocatorSettings.parse("expandable_segments:True"), False: AllocatorSettings()}
AIM = 0.002
"""Of the published figure: what a row whose version and settings are known should be predicted within."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published run, as accuracy_rows.yaml explains its keys."""

    id: str
    what: str
    source: str
    expandable_segments: bool | str
    world_size: int
    hardware: str
    torchtitan: Mapping[str, Any]
    torch_behaviour: str | None = None
    options: Sequence[str] = ()
    ours: Mapping[str, Any] | None = None
    reserved: str | None = None
    active: str | None = None
    outcome: str | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The record of rank 0 of one program on the row's hardware."""

    row: Row
    record: RankRecord

    @cached_property
    def memory(self) -> Mapping[bool, ReservedMemory]:
        """By whether segments are expandable."""
        hardware = hardware_named(self.row.hardware)
        variables = self.record.memory_variables
        return {
            expandable: reserved_memory(self.record.program, settings, hardware, variables=variables)[0]
            for expandable, settings in EXPANDABLE.items()
        }

    @property
    def counted(self) -> bool:
        """Whether the prediction that is held against the published figure is the one with expandable segments."""
        if isinstance(self.row.expandable_segments, bool):
            return self.row.expandable_segments
        return min((True, False), key=lambda expandable: abs(self.error(expandable)))

    def error(self, expandable: bool) -> float:
        """Of the published figure: 0.01 is one per cent too much."""
        return self.memory[expandable].peak_bytes / BYTES.parse(str(self.row.reserved)) - 1

    def outside(self) -> tuple[int, int]:
        """What rank 0 holds on its device beside the allocator, lowest and highest."""
        parts = [each for each in outside_memory(self.record, hardware_named(self.row.hardware)) if each.device == 0]
        return sum(each.low_bytes for each in parts), sum(each.high_bytes for each in parts)

    def verdict(self) -> str:
        """Whether the allocator can serve the program with what is left of the device beside the lowest, and the highest, of the rest."""
        hardware = hardware_named(self.row.hardware)
        over = [
            runs_out(self.record.program, EXPANDABLE[self.counted], hardware, hardware.usable_bytes - rest, self.record.memory_variables)
            for rest in self.outside()
        ]
        return "does not fit" if over[0] else "tight" if over[1] else "fits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The predictions for one row: by its own program, by that on the torch of today if it has a figure, and by our script."""

    row: Row
    own: Prediction | None
    today: Prediction | None
    ours: Prediction | None


def predict(row: Row, torchtitan: Clone | None, scratch: Path) -> Result:
    """Run the row's programs."""
    own = today = ours = None

    def run(name: str, program: Program, torch_behaviour: str | None) -> Prediction:
        options = ["--world-size", str(row.world_size), "--hardware", row.hardware]
        options += [] if torch_behaviour is None else ["--torch-behaviour", torch_behaviour]
        (record,) = simulate(program, scratch / f"{row.id}-{name}", options, STEPS).ranks
        return Prediction(row=row, record=record)

    if torchtitan is not None:
        program = torchtitan_program(torchtitan, row.id, row.torchtitan, row.options)
        own = run("own", program, row.torch_behaviour)
        if row.reserved is not None:
            today = own if row.torch_behaviour is None else run("today", program, None)
    if row.ours is not None:
        ours = run("ours", Program(script=REPOSITORY / row.ours["script"], arguments=row.ours["args"]), row.torch_behaviour)
    return Result(row=row, own=own, today=today, ours=ours)


def gib(nbytes: float) -> str:
    return f"{nbytes / GIB:.2f}"


def per_cent(fraction: float) -> str:
    return f"{100 * fraction:+.2f} %"


def table(heading: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heading)} |"
    yield f"|{'---|' * len(heading)}"
    for line in lines:
        yield f"| {' | '.join(line)} |"


def figures(results: Sequence[Result]) -> Iterator[str]:
    """The rows with a published figure, each with what it was predicted to be."""
    heading = ("Run", "Published", "Reserved, expandable segments", "without", "Error", "Allocated", "On torch of today", "Our script")
    lines = []
    for each in results:
        if each.row.reserved is None:
            continue
        line = [f"{each.row.what} [{_number(each, results)}]", gib(BYTES.parse(each.row.reserved))]
        if each.own is None or each.today is None:
            line += ["-"] * 5
        else:
            counted = each.own.counted
            cells = {expandable: gib(memory.peak_bytes) for expandable, memory in each.own.memory.items()}
            cells[counted] = f"**{cells[counted]}**"
            line += [cells[True], cells[False], per_cent(each.own.error(counted)), gib(each.own.memory[True].peak_allocated_bytes)]
            line += [gib(each.today.memory[counted].peak_bytes)]
        counted = each.own.counted if each.own else True
        ours = each.ours
        line += [f"{gib(ours.memory[counted].peak_bytes)} ({per_cent(ours.error(counted))})" if ours else "-"]
        lines.append(line)
    yield from table(heading, lines)


def summary(results: Sequence[Result]) -> Iterator[str]:
    """The largest error, and how many outcomes were predicted."""
    errors = [each.own.error(each.own.counted) for each in results if each.own is not None and each.row.reserved is not None]
    if errors:
        yield f"Largest error of {len(errors)} runs: {per_cent(max(errors, key=abs))}."


def outcomes(results: Sequence[Result]) -> Iterator[str]:
    """The rows of which it is known whether they ran out of memory, and as a check those with a figure, which all ran."""
    heading = ("Run", "Outcome", "Device", "Reserved", "Outside the allocator", "Verdict", "Our script")
    lines = []
    for each in results:
        best = each.own or each.ours
        if best is None:
            continue
        low, high = best.outside()
        line = [f"{each.row.what} [{_number(each, results)}]", each.row.outcome or "fits"]
        line += [
            gib(hardware_named(each.row.hardware).usable_bytes),
            gib(best.memory[best.counted].peak_bytes),
            f"{gib(low)} to {gib(high)}",
        ]
        line += [each.own.verdict() if each.own else "-", each.ours.verdict() if each.ours else "-"]
        lines.append(line)
    yield from table(heading, lines)


def pools(results: Sequence[Result]) -> Iterator[str]:
    """What the peak consists of, by pool of the allocator."""
    heading = ("Run", "Largest pools at the peak: reserved, of it free")
    lines = []
    for each in results:
        if each.own is None or each.row.reserved is None:
            continue
        memory = each.own.memory[each.own.counted]
        lines.append([f"[{_number(each, results)}]", "; ".join(map(_pool, memory.pools_at_peak[:4]))])
    yield from table(heading, lines)


def _pool(pool: PoolMemory) -> str:
    stream = pool.stream
    name = (
        "default stream"
        if stream.index is None
        else f"stream {stream.index}" + (f" of priority {stream.priority}" if stream.priority else "")
    )
    return f"{name}{', up to 1 MiB' if pool.is_small else ''} {format_bytes(pool.reserved_bytes)}, {format_bytes(pool.free_bytes)}"


def _number(result: Result, results: Sequence[Result]) -> int:
    return 1 + list(results).index(result)


def misses(results: Sequence[Result]) -> Iterator[str]:
    """Notes on rows, those whose error is above the aim first."""
    for each in results:
        own = each.own
        missed = own is not None and each.row.reserved is not None and abs(own.error(own.counted)) > AIM
        behaviour = [f"`--torch-behaviour {each.row.torch_behaviour}`"] if each.row.torch_behaviour else []
        options = ", ".join([*behaviour, *(f"`{option}`" for option in each.row.options)])
        parts = [
            f"{_number(each, results)}. `{each.row.id}`: {each.row.source}.",
            f"torchtitan {each.row.torchtitan['commit']}, {options}.",
        ]
        if own is not None and each.row.active is not None:
            allocated = own.memory[True].peak_allocated_bytes
            parts.append(f"Active: published {each.row.active}, predicted {allocated / GIB:.5f} GiB allocated.")
        yield " ".join([*parts, each.row.note, "**Missed.**" if missed else ""]).strip()


def page(results: Sequence[Result]) -> Iterator[str]:
    yield from (
        HEADING,
        "",
        "Peak memory of training runs that others published, beside what fakerun predicts for them on a machine without a GPU. Written by",
        "`scripts/dev/accuracy.py`; the rows and their sources are in `scripts/dev/accuracy_rows.yaml`. No constant is fitted to them.",
        "",
        f"Simulated with torch {version('torch')}: rank 0, {STEPS} optimizer steps; records replayed with and without expandable segments.",
        "",
        "## Reserved memory",
        "",
        "Each run's own program: torchtitan as it was, its tokenizer and data replaced by zeros, on the run's number of ranks. In GiB.",
        "The error is that of the bold figure, which has the settings of the run where they are known and is the nearer one where not.",
        "",
        *figures(results),
        "",
        *summary(results),
        "",
        "*On torch of today* is the same program without what the torch of its time did otherwise (see",
        "[`--torch-behaviour`](command_line.md#options)): the root module of FSDP2 stayed gathered after forward before 2.8, and",
        "`rms_norm` was composed of float32 operators before 2.9. *Our script* is the one of `scripts/` that can be set as the",
        "run was, as on the torch of its time.",
        "",
        "## Verdicts",
        "",
        "Whether the allocator can serve the program with what is left of the device beside its context and NCCL's buffers (a range, see",
        "[Hardware](hardware.md#memory-outside-the-allocator)): *tight* is with the lowest of these, not with the highest. In GiB.",
        "",
        *outcomes(results),
        "",
        "## Where the peak is",
        "",
        "The allocator keeps a pool for each stream and size class, and what is free in one serves no other.",
        "",
        *pools(results),
        "",
        "## Sources and notes",
        "",
        *misses(results),
        "",
    )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predict published peaks of reserved memory.")
    parser.add_argument("--torchtitan", type=Path, help="a git repository of torchtitan; without it only our own scripts run")
    parser.add_argument("--rows", type=lambda text: text.split(","), help="ids, separated by commas; by default all")
    parser.add_argument("--runs", type=Path, help="keep the run directories here, and take what is here already")
    parser.add_argument("-o", "--output", type=Path, help="file to write; by default standard output")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    rows = [Row(**row) for row in yaml.safe_load(ROWS.read_text(encoding="utf-8"))["rows"]]
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary) if args.runs is None else args.runs.resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        torchtitan = None if args.torchtitan is None else Clone(args.torchtitan, scratch)
        for row in rows:
            if args.rows is None or row.id in args.rows:
                print(f"{row.id} ...", file=sys.stderr, flush=True)
                results.append(predict(row, torchtitan, scratch))
        text = "\n".join(page(results))
    if args.output is None:
        print(text)
    else:
        write_part(args.output, HEADING, text)


if __name__ == "__main__":
    main()
