"""Measures on a real GPU what fakerun predicts, in under seven minutes, and writes it as data.

    python scripts/dev/validate_on_gpu.py --out measured          # on the machine with the GPU; fakerun need not be there
    python scripts/dev/gpu/compare_programs.py measured/programs.json.gz    # then, anywhere with fakerun and the same version of torch

Each part is a program of `scripts/dev/gpu/` that writes one file. Parts that only count memory run side by side; what is outside the
allocator and all times are measured with nothing else on the card. A part that is late is stopped, and what it has written is kept.
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
    """A program that measures, with its options, and the share of the time that its phase has."""

    script: str
    options: tuple[str, ...] = ()


PHASES: tuple[tuple[float, dict[str, Part]], ...] = (
    (0.12, {"outside_memory": Part(script="outside_memory.py")}),
    (
        0.40,
        {
            "programs": Part(script="programs.py", options=("--gib", "50")),
            "kernel_requests": Part(script="kernel_requests.py", options=("--gib", "22")),
            "allocator_events": Part(script="allocator_events.py"),
        },
    ),
    (0.28, {"operation_times": Part(script="operation_times.py")}),
    (0.20, {"program_times": Part(script="programs.py", options=("--mode", "time"))}),
)
"""Phases one after the other, each with its share of all seconds; the parts of one run at once. Programs leave the others 25 GiB of 80."""


def start(name: str, part: Part, seconds: float, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-u", str(HERE / part.script), "--out", str(out / f"{name}.json.gz"), "--seconds", str(int(seconds))]
    with (out / "log.txt").open("ab") as log:
        log.write(f"== {name}\n".encode())
        log.flush()
        return subprocess.Popen([*command, *part.options], stdout=log, stderr=log, start_new_session=True)


def run_phase(parts: dict[str, Part], seconds: float, out: Path) -> None:
    """Run the parts at once; stop those that are late by more than a quarter."""
    started = time.monotonic()
    running = {name: start(name, part, seconds, out) for name, part in parts.items()}
    for name, process in running.items():
        try:
            process.wait(max(1.0, 1.25 * seconds - (time.monotonic() - started)))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
        print(f"{name}: {time.monotonic() - started:.0f} s, exit {process.wait()}", flush=True)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    names = [name for _, parts in PHASES for name in parts]
    parser = argparse.ArgumentParser(description="Measure on this machine's GPU what fakerun predicts.")
    parser.add_argument("--out", type=Path, required=True, help="directory of the files")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=names, help=",".join(names))
    parser.add_argument("--seconds", type=float, default=400.0, help="of all parts together")
    args = parser.parse_args(argv)
    if unknown := set(args.parts) - set(names):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; known: {', '.join(names)}")
    return args


def main() -> int:
    args = parse_args()
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no GPU here: run this on a machine with one, and a CUDA build of torch")
    args.out.mkdir(parents=True, exist_ok=True)
    asked = [(share, {name: part for name, part in parts.items() if name in args.parts}) for share, parts in PHASES]
    whole = sum(share for share, parts in asked if parts)
    for share, parts in asked:
        if parts:
            run_phase(parts, args.seconds * share / whole, args.out)
    written = sorted(path.name for path in args.out.glob("*.json.gz"))
    print("written:", *written)
    return int(set(args.parts) != {name.removesuffix(".json.gz") for name in written})


if __name__ == "__main__":
    raise SystemExit(main())
