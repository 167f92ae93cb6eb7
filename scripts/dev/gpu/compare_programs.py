"""Holds what programs did on a real GPU against what fakerun predicts: every counter of the allocator, and every request in order.

    python scripts/dev/gpu/compare_programs.py programs.json.gz            # fakerun runs each program
    python scripts/dev/gpu/compare_programs.py programs.json.gz --only fsdp-1b --show 20
    python scripts/dev/gpu/compare_programs.py tests/oracles/gpu_programs/*_torch_2_11.json.gz --page docs/accuracy_on_a_gpu.md

The prediction is the same program run by the `fakerun` command for the same card: there the allocator's answers come from fakerun.
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from dev.gpu.programs import PROGRAMS, Program, kinds  # noqa: E402

from fakerun.hardware.catalogue import known_hardware  # noqa: E402

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


def normalised(trace: Iterable[Sequence[Any]]) -> Iterator[tuple[str, int, int, int]]:
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


def alignment(measured: Sequence[Any], predicted: Sequence[Any], window: int = 400) -> Iterator[tuple[int, Sequence[Any], Sequence[Any]]]:
    """Where the two differ: an index of `measured`, and what each has there before they agree again for three requests."""
    i = j = 0
    while i < len(measured) and j < len(predicted):
        if measured[i] == predicted[j]:
            i, j = i + 1, j + 1
            continue
        real, ours = next(
            _meeting_points(measured[i : i + window + 3], predicted[j : j + window + 3]), (len(measured) - i, len(predicted) - j)
        )
        yield i, measured[i : i + real], predicted[j : j + ours]
        i, j = i + real, j + ours
    if i < len(measured) or j < len(predicted):
        yield i, measured[i:], predicted[j:]


def _meeting_points(measured: Sequence[Any], predicted: Sequence[Any]) -> Iterator[tuple[int, int]]:
    """Where the two have three equal requests, the nearest first."""
    for distance in range(1, len(measured) + len(predicted)):
        for real in range(max(0, distance - len(predicted)), min(distance, len(measured)) + 1):
            ours = distance - real
            if len(measured[real : real + 3]) == 3 and measured[real : real + 3] == predicted[ours : ours + 3]:
                yield real, ours


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Peaks in bytes, measured and predicted, and how many of how many requests are the same in the same order, where they were kept."""

    name: str
    program: Program
    allocated: tuple[int, int]
    reserved: tuple[int, int]
    requests: int
    equal_requests: int

    @property
    def command(self) -> str:
        return f"{self.program.script} {self.program.words}".strip()


@dataclass(frozen=True, kw_only=True)
class Card:
    """What ran on one card: with which version of torch, when, and how many optimizer steps of each program."""

    device: str
    torch: str
    date: str
    steps: int
    comparisons: Sequence[Comparison]


def compared(name: str, program: Program, measured: dict[str, Any], predicted: dict[str, Any], show: int) -> Comparison:
    ours = predicted["stats"][-1]
    allocated, reserved = ((peak_of(measured, kind), ours[f"{kind}_bytes.all.peak"]) for kind in ("allocated", "reserved"))
    requests = [item[:3] for item in normalised(trace_of(measured))]
    differences = list(alignment(requests, [item[:3] for item in normalised(predicted["trace"])])) if requests else []
    for index, real, other in differences[:show]:
        print(f"{name}, request {index}: measured {real[:12]}, predicted {other[:12]}")
    equal = len(requests) - sum(len(real) for _, real, _ in differences)
    return Comparison(name=name, program=program, allocated=allocated, reserved=reserved, requests=len(requests), equal_requests=equal)


def peak_of(measured: dict[str, Any], kind: str) -> int:
    """Of the whole file of a measurement, or of the reduced one that the tests have."""
    peak: int = measured["stats"][-1][f"{kind}_bytes.all.peak"] if "stats" in measured else measured[kind]
    return peak


def trace_of(measured: dict[str, Any]) -> Iterator[Sequence[Any]]:
    """Requests and frees as [action, address, bytes, stream]; in the reduced file the number of a request is its address."""
    if "trace" in measured:
        yield from measured["trace"]
        return
    sizes: list[tuple[int, int]] = []
    for event in measured.get("events", ()):
        if isinstance(event, int) and event < 0:
            yield "free_requested", -event - 1, *sizes[-event - 1]
        else:
            sizes.append((event[0], event[1]) if isinstance(event, list) else (event, 0))
            yield "alloc", len(sizes) - 1, *sizes[-1]


# -- the page -------------------------------------------------------------------------------------------------------------------------


def cells(comparison: Comparison) -> list[str]:
    line = []
    for real, ours in (comparison.allocated, comparison.reserved):
        line += [f"{real / 2**30:.3f}", f"{ours / 2**30:.3f}", f"{100 * (ours / real - 1):+.2f} %"]
    return [*line, f"{comparison.equal_requests:,} of {comparison.requests:,}" if comparison.requests else ""]


HEADERS = ("allocated", "predicted", "", "reserved", "predicted", "", "equal requests")


def page(cards: Sequence[Card]) -> Iterator[str]:
    """The lines of docs/accuracy_on_a_gpu.md."""
    (steps,) = {card.steps for card in cards}
    yield "# Accuracy on a GPU"
    yield ""
    yield f"Programs that ran on an {' and on an '.join(f'{card.device} (torch {card.torch}, {card.date})' for card in cards)},"
    yield f"{steps} optimizer steps of one rank each, beside what fakerun predicts for the same program, rank, card and version of torch"
    yield "on a machine without a GPU."
    yield "Collectives went to torch's fake process group, so that one GPU holds what a rank among many holds; DDP, ZeRO and the"
    yield "zero-bubble pipelines ran over NCCL with one rank. Written by"
    yield "`scripts/dev/gpu/compare_programs.py` from the file that `scripts/dev/validate_on_gpu.py` writes on a machine with a GPU."
    yield ""
    for card in cards:
        yield from (f"**{card.device}**", "", *summary(card.comparisons), "")
    yield "Peaks in GiB. *Equal requests*: how many requests to the allocator and frees, in order, were predicted, where they are kept."
    for card in cards:
        for title, is_kind in (("large programs", False), ("kinds of training", True)):
            yield from ("", f"## {card.device}: {title}", "")
            group = [one for one in card.comparisons if one.name.startswith("kind-") == is_kind]
            rows = [(f"`{one.command}`", settings_of(one.program), *cells(one)) for one in group]
            yield from tabulate(rows, headers=("program", "rank", *HEADERS), tablefmt="github", disable_numparse=True).splitlines()


def settings_of(program: Program) -> str:
    of = f"{program.rank} of {program.world_size}"
    return f"{of}, {program.settings}" if program.settings else of


def summary(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """How far off the predictions are, over all programs."""
    for kind in ("allocated", "reserved"):
        errors = sorted(abs(ours / real - 1) for real, ours in (getattr(one, kind) for one in comparisons))
        exact = sum(error < 5e-5 for error in errors)
        yield (
            f"- Peak of {kind} memory: {exact} of {len(errors)} programs within 0.005 %, the median {100 * errors[len(errors) // 2]:.3f} % "
            f"and the worst {100 * errors[-1]:.2f} % off."
        )
    equal, requests = (sum(getattr(one, name) for one in comparisons) for name in ("equal_requests", "requests"))
    yield f"- {100 * equal / requests:.2f} % of {requests:,} requests and frees are predicted in order."


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare measured programs with fakerun's predictions.")
    parser.add_argument("measured", type=Path, nargs="+", help="files that programs.py has written on GPUs")
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--show", type=int, default=0, help="so many differences of each program")
    parser.add_argument("--again", action="store_true", help="predict again what has been predicted before")
    parser.add_argument("--predicted", type=Path, help="directory of the predictions, which are kept there, by card")
    parser.add_argument("--page", type=Path, help="where to write the page")
    return parser.parse_args()


def compared_card(documents: Sequence[dict[str, Any]], args: argparse.Namespace, directory: Path) -> Card:
    """What one card did in all its files; prints the comparison."""
    environment = documents[0]["environment"]
    known, hardware = {**PROGRAMS, **kinds()}, hardware_of(environment["device"])
    directory = directory / hardware
    directory.mkdir(parents=True, exist_ok=True)
    comparisons, failed = [], []
    for name, measured in {name: one for document in documents for name, one in document["programs"].items()}.items():
        if args.only and name not in args.only:
            continue
        if name not in known:
            failed.append((name, "not a program any more"))
            continue
        if "error" in measured:
            failed.append((name, f"not measured: {measured['error'][:100]}"))
            continue
        out = directory / f"{name}.json.gz"
        if args.again or not out.exists():
            print(f"{name} is predicted", file=sys.stderr)
            predict(name, known[name], documents[0]["steps"], out, hardware)
        predicted = read(out)
        if not predicted.get("stats") or "trace" not in predicted:
            failed.append((name, f"not predicted: {predicted.get('error', 'fakerun stopped it')[:100]}"))
            continue
        comparisons.append(compared(name, known[name], measured, predicted, args.show))
    print(environment["device"])
    print(tabulate([(one.name, *cells(one)) for one in comparisons], headers=("program", *HEADERS), disable_numparse=True))
    print(*summary(comparisons), *(f"{name}: {reason}" for name, reason in failed), sep="\n")
    about = {key: environment[key] for key in ("device", "torch", "date")}
    return Card(**about, steps=documents[0]["steps"], comparisons=comparisons)


def hardware_of(device: str) -> str:
    """The name in fakerun's catalogue of what the driver calls `device`."""
    return next(name for name, hardware in known_hardware().items() if hardware.accelerator.device_name == device)


def main() -> None:
    args = parse_args()
    directory = args.predicted or Path(tempfile.mkdtemp(prefix="predicted-"))
    of_card: dict[str, list[dict[str, Any]]] = {}
    for path in args.measured:
        document = read(path)
        of_card.setdefault(document["environment"]["device"], []).append(document)
    cards = [compared_card(documents, args, directory) for documents in of_card.values()]
    if args.page:
        args.page.write_text("\n".join(page(cards)) + "\n")


if __name__ == "__main__":
    main()
