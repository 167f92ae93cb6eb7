"""The cost of step time: processor seconds of reading a kept run, pricing, playing and explaining its step, beside another version's.

reading     the records of the run, and those of ranks that are taken to match one that was simulated
pricing     classes of ranks; what each distinct operation and call costs; programs as they are played
playing     every play: without contention, the one that is measured, and one for each axis as if its calls took no time
explaining  times by kind, critical path, gains, MFU, and what published runs say of the sum

The last three are what step time adds to a report: below 0.5 s for a step of Llama 3 8B on 8 ranks, below 20 s for 405B on 16,384.

    python scripts/dev/benchmark_step_time.py                                       # makes a run of the 8B step first
    python scripts/dev/benchmark_step_time.py --job 405b --keep runs/405b           # the same, minutes; the run is kept
    python scripts/dev/benchmark_step_time.py --run runs/405b --against ../fakerun-before    # a checkout of another version

Every sample is a process of its own, since costs that were asked for once are remembered; the two versions alternate. Seconds are of the
processor, without imports. They grow when other processes share the cores: compare the ratios, and take the least of several rounds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
JOBS = {
    "8b": ["scripts/train_fsdp.py", "--world-size", "8", "--hardware", "h100-80gb", "--", "--model", "8b", "--seq-len", "8192"],
    "405b": ["configs/llama3_405b_16k.yaml", "--ranks", "auto"],
}
PARTS = ("reading", "pricing", "playing", "explaining")
OF_STEP_TIME = PARTS[1:]

Sample = Mapping[str, float]
"""Processor seconds by part, and the seconds of the step that came out."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Processor seconds of step time.")
    parser.add_argument("--run", type=Path, help="a run directory that was kept; by default one is made")
    parser.add_argument("--job", choices=JOBS, default="8b", help="what to run without --run")
    parser.add_argument("--keep", type=Path, help="where to keep the run that is made")
    parser.add_argument("--against", type=Path, help="a checkout of another version, measured beside this one")
    parser.add_argument("--rounds", type=int, default=3, help="samples of each version")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)  # set in the measured processes
    args = parser.parse_args(argv)
    if args.run is not None and args.keep is not None:
        parser.error("--keep is for a run that is made, --run names one that is there")
    if args.against is not None and not (args.against / "fakerun").is_dir():
        parser.error(f"--against {args.against}: no checkout of fakerun there")
    return args


# -- the measured process -----------------------------------------------------------------------------------------------------------


class Clock:
    """Adds up the processor seconds of functions, by a name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, and what each call of it takes."""

        def run(*args: Any, **others: Any) -> Any:
            began = time.process_time()
            try:
                return function(*args, **others)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - began

        return run


def work(directory: Path) -> Sample:
    """The parts of one run, in this process, with the fakerun that is imported here.

    Raises:
        SystemExit: the run has no step time; the message says why.
    """
    from fakerun.analysis.representatives import assumed_records
    from fakerun.analysis.time.estimate import NoEstimate
    from fakerun.launch.run_directory import find_run_directory
    from fakerun.mesh import mesh_in_effect

    player: Any = import_module("fakerun.analysis.time.timeline.player")
    build_time: Any = import_module("fakerun.report.build_time")
    clock = Clock()
    found = find_run_directory(directory)
    job = found.read_job()
    run = clock.timed("reading", found.read_run)(job)
    assumed = clock.timed("reading", lambda: tuple(assumed_records(run)))()
    player.Play.run = clock.timed("playing", player.Play.run)
    step_time = build_time.step_time

    def summed(of: Any) -> Any:
        """The summing up of a step without the plays that it asks for."""
        before = clock.seconds["playing"]
        result = clock.timed("summing", step_time)(of)
        clock.seconds["summing"] -= clock.seconds["playing"] - before
        return result

    build_time.step_time = summed
    played = clock.timed("played", build_time.played_step)(job, run.ranks, assumed)
    if isinstance(played, NoEstimate):
        raise SystemExit(f"no step time: {played.reason}")
    mesh = mesh_in_effect(job.mesh, (record.mesh for record in run.ranks))
    clock.timed("estimate", build_time.step_estimate)(job, run.ranks, mesh, played)
    seconds = clock.seconds
    return {
        "reading": seconds["reading"],
        "pricing": seconds["played"] - seconds["playing"] - seconds["summing"],
        "playing": seconds["playing"],
        "explaining": seconds["summing"] + seconds["estimate"],
        "step_s": played.summed.seconds,
    }


# -- the measuring process ----------------------------------------------------------------------------------------------------------


def make_run(job: str, directory: Path) -> None:
    """Simulate the job and keep its records."""
    fakerun, words = [sys.executable, "-m", "fakerun"], JOBS[job]
    where = words.index("--") if "--" in words else len(words)
    command = [*fakerun, *words[:where], "--run-dir", str(directory.resolve()), "-q", *words[where:]]
    print(f"{job} is simulated", file=sys.stderr, flush=True)
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # 1: a finding of severity error, such as a job that does not fit
        raise SystemExit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stderr[-2000:]}")


def sample(checkout: Path, run: Path) -> Sample:
    """One sample of the fakerun in a checkout."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--worker", "--run", str(run.resolve())]
    paths = [str(checkout.resolve()), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout} cannot be measured on {run}:\n{done.stderr[-2000:]}")
    result: Sample = json.loads(done.stdout)
    return result


def least(samples: Sequence[Sample]) -> Sample:
    """Of each part the least: what was not disturbed."""
    return {part: min(each[part] for each in samples) for part in samples[0]}


def table(ours: Sequence[Sample], theirs: Sequence[Sample]) -> str:
    """A line for each part: the least and the largest seconds, and the ratio of the least ones to those of the other version."""
    lines = [f"{'part':<12}{'cpu s':>9}{'max':>9}" + (f"{'other':>9}{'/ other':>9}" if theirs else "")]
    for name, parts in (*((part, (part,)) for part in PARTS), ("step time", OF_STEP_TIME)):
        seconds, others = ([sum(each[part] for part in parts) for each in samples] for samples in (ours, theirs))
        line = f"{name:<12}{min(seconds):>9.3f}{max(seconds):>9.3f}"
        if others:
            line += f"{min(others):>9.3f}" + (f"{min(seconds) / min(others):>9.2f}" if min(others) else f"{'-':>9}")
        lines.append(line)
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if args.worker:
        print(json.dumps(work(args.run)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        run = args.run
        if run is None:
            run = args.keep or Path(scratch) / "run"
            make_run(args.job, run)
        ours: list[Sample] = []
        theirs: list[Sample] = []
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
            ours.append(sample(REPOSITORY, run))
            if args.against is not None:
                theirs.append(sample(args.against, run))
    print(f"{args.run or args.job}, {args.rounds} rounds, Python {platform.python_version()}, torch {version('torch')}")
    print(table(ours, theirs))
    steps = [f"{samples[0]['step_s']:.6f} s" for samples in (ours, theirs) if samples]
    print("the step takes", ", with the other version ".join(steps))


if __name__ == "__main__":
    main()
