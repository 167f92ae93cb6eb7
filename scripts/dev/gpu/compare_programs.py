"""Holds what programs did on a real GPU against what fakerun predicts: every counter of the allocator, and every request in order.

    python scripts/dev/gpu/compare_programs.py programs.json.gz            # fakerun runs each program and writes its prediction beside
    python scripts/dev/gpu/compare_programs.py programs.json.gz --only fsdp-1b --show 20

The prediction is the same program run by the `fakerun` command: there the allocator's answers come from fakerun.
"""

import argparse
import gzip
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from dev.gpu.programs import PROGRAMS, Program, kinds  # noqa: E402

REQUESTS = ("alloc", "free_requested")
"""Freeing completes when the GPU has passed an event, which no prediction knows; segments follow from the requests."""


def read(path: Path) -> Any:
    with gzip.open(path, "rt") as file:
        return json.load(file)


def predict(name: str, program: Program, steps: int, out: Path, hardware: str) -> None:
    """Let fakerun run the program, which writes what the emulated allocator answers; the error of fakerun, if it wrote nothing."""
    ranks = ["--world-size", str(program.world_size), "--ranks", str(program.rank)]
    words = ["--run", name, "--steps", str(steps), "--out", str(out)]
    settings = ["--alloc-conf", program.settings] if program.settings else []
    command = [sys.executable, "-m", "fakerun", str(HERE / "programs.py"), *ranks, "--steps", "all", "--hardware", hardware, *settings]
    done = subprocess.run([*command, "--", *words], capture_output=True, text=True, check=False)
    if not out.exists():
        text = f"fakerun ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        with gzip.open(out, "wt") as file:
            json.dump({"error": text}, file)


def normalised(trace: Sequence[Sequence[Any]]) -> Iterator[tuple[str, int, int, int]]:
    """Requests as (action, bytes, stream by first appearance, number of the allocation since which the address is in use)."""
    streams: dict[int, int] = {}
    in_use: dict[int, int] = {}
    allocations = 0
    for action, address, size, stream in trace:
        if action not in REQUESTS:
            continue
        if action == "alloc":
            in_use[address] = allocations
            allocations += 1
        yield action, size, streams.setdefault(stream, len(streams)), in_use.get(address, -1)


def first_difference(measured: Sequence[Any], predicted: Sequence[Any]) -> int | None:
    """Index of the first request that differs; None if all are equal."""
    for index, (real, ours) in enumerate(zip(measured, predicted, strict=False)):
        if real != ours:
            return index
    return None if len(measured) == len(predicted) else min(len(measured), len(predicted))


def counters_that_differ(measured: dict[str, int], predicted: dict[str, int]) -> list[str]:
    return [key for key in measured if measured[key] != predicted.get(key)]


def row(name: str, measured: dict[str, Any], predicted: dict[str, Any], show: int) -> list[Any]:
    """One line of the table: peaks, their differences, and how far the two agree."""
    real, ours = measured["stats"][-1], predicted["stats"][-1]
    line: list[Any] = [name]
    for key in ("allocated_bytes.all.peak", "reserved_bytes.all.peak"):
        line += [f"{real[key] / 2**30:.3f}", f"{ours[key] / 2**30:.3f}", f"{100 * (ours[key] / real[key] - 1):+.3f} %"]
    requests = [list(normalised(document["trace"])) for document in (measured, predicted)]
    different = first_difference(*requests)
    if show and different is not None:
        for title, items in zip(("measured", "predicted"), requests, strict=True):
            print(f"{name}, {title}, around request {different} of {len(items)}:")
            print(*items[max(0, different - show) : different + show], sep="\n")
    wrong = counters_that_differ(real, ours)
    agreed = "all" if different is None else f"{different} of {len(requests[0])}"
    return [*line, f"{len(real) - len(wrong)} of {len(real)}", agreed]


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare measured programs with fakerun's predictions.")
    parser.add_argument("measured", type=Path, help="the file that programs.py has written on a GPU")
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--hardware", default="h100-80gb")
    parser.add_argument("--show", type=int, default=0, help="requests before and after the first difference")
    parser.add_argument("--again", action="store_true", help="predict again what has been predicted before")
    args = parser.parse_args()
    document = read(args.measured)
    known = {**PROGRAMS, **kinds()}
    directory = args.measured.parent / "predicted"
    directory.mkdir(exist_ok=True)
    rows = []
    for name, measured in document["programs"].items():
        if args.only and name not in args.only:
            continue
        if "error" in measured or not measured.get("stats"):
            rows.append([name, f"not measured: {measured.get('error', 'no step')[:60]}"])
            continue
        out = directory / f"{name}.json.gz"
        if args.again or not out.exists():
            print(f"{name} is predicted", file=sys.stderr)
            predict(name, known[name], document["steps"], out, args.hardware)
        predicted = read(out)
        if not predicted.get("stats") or "trace" not in predicted:
            rows.append([name, f"not predicted: {predicted.get('error', 'fakerun stopped it')[:60]}"])
            continue
        rows.append(row(name, measured, predicted, args.show))
    headers = ("program", "allocated", "predicted", "", "reserved", "predicted", "", "counters equal", "requests equal")
    print(tabulate(rows, headers=headers, disable_numparse=True))


if __name__ == "__main__":
    main()
