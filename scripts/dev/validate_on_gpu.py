"""Measures on a real GPU what fakerun predicts, in one command of under ten minutes, and writes it as data.

    python scripts/dev/validate_on_gpu.py --out measured          # on the machine with the GPU; fakerun need not be there
    python scripts/dev/gpu/compare_programs.py measured/programs.json.gz measured/kinds.json.gz    # then, anywhere with fakerun

Each part is a program of `scripts/dev/gpu/` that writes one file. Parts that only count memory run side by side; what is outside the
allocator and all times are measured with nothing else on the card. A part that is late is stopped, and what it has written is kept.
Compiling takes a process of its own on the host: it fills the cache of `torch.compile` beside programs whose memory is counted, so that
no compiling is in the time of `operation_times`.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent / "gpu"


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

SECONDS = sum(phase.seconds for phase in PHASES)

EPILOG = f"""All parts take {SECONDS:.0f} seconds: {
    "; ".join(f"{', '.join(phase.parts)} {phase.seconds:.0f} s" for phase in PHASES)
}. For commands of under five minutes, ask for parts that add up to less, each time into the same directory:
kinds,warm_up,operation_times (270 s) and then programs,kernel_requests,allocator_events,outside_memory (225 s) and program_times (85 s)
on one machine, since warm_up leaves its cache there. With fewer --seconds every part has less time, and measures what comes first in it."""


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


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    names = [name for phase in PHASES for name in phase.parts]
    parser = argparse.ArgumentParser(description="Measure on this machine's GPU what fakerun predicts.", epilog=EPILOG)
    parser.add_argument("--out", type=Path, required=True, help="directory of the files")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=names, help=",".join(names))
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


def main() -> int:
    args = parse_args()
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no GPU here: run this on a machine with one, and a CUDA build of torch")
    args.out.mkdir(parents=True, exist_ok=True)
    failed = [name for phase in planned(args.parts, args.seconds) for name in run_phase(phase.parts, phase.seconds, args.out)]
    print("written:", *sorted(path.name for path in args.out.glob("*.json.gz")))
    if failed:
        print("nothing was written by:", *failed)
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
