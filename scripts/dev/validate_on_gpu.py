"""Measures on a real GPU what fakerun predicts for programs of ours, compares the two, and writes what was measured as data.

    python scripts/dev/validate_on_gpu.py --out measured           # under five minutes: programs' memory, and the comparison
    python scripts/dev/validate_on_gpu.py --out measured --all     # also single operations, times, and memory outside the allocator

The programs run one rank of each training job with CUDA tensors (gpu/programs.py); compared are the peaks of allocated and of reserved
memory, every counter of `torch.cuda.memory_stats`, the segments, and the requests in order. Where fakerun is not installed the command to
compare with is said: it needs no GPU. Exit status 1: something is off by more than gpu/tolerances.py says, or was not measured.
`OUT/CARD_torch_VERSION.json.gz` is the file for tests/oracles/gpu_programs.

Each part is a program of `scripts/dev/gpu/` that writes one file. Parts that only count memory run side by side; what is outside the
allocator and all times are measured with nothing else on the card. A part that is late is stopped, and what it has written is kept.
Compiling takes a process of its own on the host: it fills the cache of `torch.compile` beside programs whose memory is counted, so that
no compiling is in the time of `operation_times`.
"""

import argparse
import gzip
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

HERE = Path(__file__).resolve().parent / "gpu"
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parents[1]))

from dev.gpu.reduced_programs import reduced  # noqa: E402


@dataclass(frozen=True, kw_only=True)
class Part:
    """A program that measures, with its options. Of one that is not `kept` the file is deleted: it ran for what it leaves in a cache."""

    script: str
    options: tuple[str, ...] = ()
    kept: bool = True


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Parts that run at once, and the seconds that they need."""

    seconds: float
    parts: dict[str, Part]


PHASES = (
    Phase(
        seconds=110,
        parts={
            "kinds": Part(script="programs.py", options=("--which", "kinds", "--gib", "30")),
            "warm_up": Part(script="operation_times.py", options=("--sections", "compiled"), kept=False),
        },
    ),
    Phase(seconds=160, parts={"operation_times": Part(script="operation_times.py")}),
    Phase(seconds=85, parts={"program_times": Part(script="programs.py", options=("--mode", "time"))}),
    Phase(
        seconds=75,
        parts={
            "programs": Part(script="programs.py", options=("--which", "large", "--gib", "50")),
            "kernel_requests": Part(script="kernel_requests.py", options=("--gib", "22")),
            "allocator_events": Part(script="allocator_events.py"),
        },
    ),
    Phase(seconds=150, parts={"outside_memory": Part(script="outside_memory.py")}),
)
"""One after the other. Programs leave those beside them 25 GiB of 80: what is compiled takes up to 45 GiB."""

COMPARED = ("kinds", "programs")
"""The parts that are compared, and all that run by default."""

COMPARING_SECONDS = 100.0
"""For the predictions, which take a core each."""

WITH_EVENTS = (
    "fsdp-8b-64",
    "ddp-1b-expandable",
    "kind-fsdp2-mixed-precision",
    "kind-zero-redundancy-optimizer",
    "kind-pipeline-zero-bubble",
    "kind-moe",
    "kind-autocast-grad-scaler",
    "kind-activation-offloading-pinned",
)
"""Programs of which the file for tests has all requests: one for each way of asking, since they are most of it."""


def seconds_of(names: Sequence[str]) -> float:
    return sum(phase.seconds for phase in planned(names, None))


def start(name: str, part: Part, seconds: float, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-u", str(HERE / part.script), "--out", str(out / f"{name}.json.gz"), "--seconds", str(int(seconds))]
    with (out / "log.txt").open("ab") as log:
        log.write(f"== {name}\n".encode())
        log.flush()
        return subprocess.Popen([*command, *part.options], stdout=log, stderr=log, start_new_session=True)


def run_phase(parts: dict[str, Part], seconds: float, out: Path) -> list[str]:
    """Run the parts at once; stop those that are late by more than a tenth. The names of those that wrote nothing."""
    started = time.monotonic()
    running = {name: start(name, part, seconds, out) for name, part in parts.items()}
    failed = []
    for name, process in running.items():
        try:
            process.wait(max(1.0, 1.1 * seconds - (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
        print(f"{name}: {time.monotonic() - started:.0f} s, exit {process.wait()}", flush=True)
        file = out / f"{name}.json.gz"
        if not file.exists():
            failed.append(name)
        elif not parts[name].kept:
            file.unlink()
    return failed


def epilog() -> str:
    phases = "; ".join(f"{', '.join(phase.parts)} {phase.seconds:.0f} s" for phase in PHASES)
    return f"""By default {" and ".join(COMPARED)} run ({seconds_of(COMPARED):.0f} seconds), and are compared (up to
{COMPARING_SECONDS:.0f} more). All parts take {seconds_of(all_parts()):.0f} seconds: {phases}. Parts may be asked for one after the
other into the same directory, on one machine, since warm_up leaves its cache there for operation_times. With fewer --seconds every part
has less time, and measures what comes first in it."""


def all_parts() -> list[str]:
    return [name for phase in PHASES for name in phase.parts]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    names = all_parts()
    parser = argparse.ArgumentParser(description="Measure on this machine's GPU what fakerun predicts, and compare.", epilog=epilog())
    parser.add_argument("--out", type=Path, required=True, help="directory of the files")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--parts", type=lambda text: text.split(","), default=list(COMPARED), help=",".join(names))
    which.add_argument("--all", dest="parts", action="store_const", const=names, help="all parts")
    which.add_argument("--only-compare", action="store_true", help="measure nothing: compare what --out has")
    parser.add_argument("--seconds", type=float, help="of all parts together; by default what they need")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(names):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    return args


def planned(names: Sequence[str], seconds: float | None) -> list[Phase]:
    """The phases that have any of these parts, with those parts only, their seconds scaled to `seconds` in all."""
    phases = [
        Phase(seconds=phase.seconds, parts={name: part for name, part in phase.parts.items() if name in names})
        for phase in PHASES
        if set(phase.parts) & set(names)
    ]
    scale = 1.0 if seconds is None else seconds / sum(phase.seconds for phase in phases)
    return [Phase(seconds=scale * phase.seconds, parts=phase.parts) for phase in phases]


def measure(parts: Sequence[str], seconds: float | None, out: Path) -> list[str]:
    """Run the parts; the names of those that wrote nothing."""
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no GPU here: run this on a machine with one, and a CUDA build of torch")
    out.mkdir(parents=True, exist_ok=True)
    failed = [name for phase in planned(parts, seconds) for name in run_phase(phase.parts, phase.seconds, out)]
    if measured := compared_files(out):
        write_for_tests(measured, out)
    print("written:", *sorted(path.name for path in out.glob("*.json.gz")))
    return failed


def compared_files(out: Path) -> list[Path]:
    return [path for name in COMPARED if (path := out / f"{name}.json.gz").exists()]


def write_for_tests(measured: Sequence[Path], out: Path) -> Path:
    """The reduced file of programs and kinds together, by the name that tests/oracles/gpu_programs has for such files."""
    documents = [json.loads(gzip.decompress(path.read_bytes())) for path in measured]
    whole = {**documents[0], "programs": {name: one for document in documents for name, one in document["programs"].items()}}
    about = whole["environment"]
    card = about["device"].removeprefix("NVIDIA ").split()[0].lower()
    path = out / f"{card}_torch_{'_'.join(about['torch'].split('.')[:2])}.json.gz"
    path.write_bytes(reduced(whole, WITH_EVENTS))
    return path


def compare(out: Path, seconds: float = inf) -> int:
    """Hold the programs of `out` against fakerun's predictions, or say how that is done elsewhere; the exit status."""
    measured = compared_files(out)
    if not measured:
        print(f"nothing to compare in {out}: it has none of {', '.join(f'{name}.json.gz' for name in COMPARED)}")
        return 1
    words = [str(HERE / "compare_programs.py"), *map(str, measured), "--predicted", str(out / "predicted")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    test = [sys.executable, "-P", "-c", "import fakerun.cli.app"]
    importable = subprocess.run(test, env=environment, capture_output=True, text=True, check=False)
    if importable.returncode:
        print(f"not compared: {importable.stderr.strip().splitlines()[-1]}. On a machine with fakerun, which needs no GPU, type:")
        print(shlex.join(["python", *words]))
        return 0
    return subprocess.run([sys.executable, *words, "--seconds", str(seconds)], env=environment, check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.only_compare:
        return compare(args.out)
    failed = measure(args.parts, args.seconds, args.out)
    if failed:
        print("nothing was written by:", *failed)
    differs = compare(args.out, COMPARING_SECONDS) if set(args.parts) & set(COMPARED) else 0
    return int(bool(failed) or bool(differs))


if __name__ == "__main__":
    raise SystemExit(main())
