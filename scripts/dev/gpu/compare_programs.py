"""Holds what programs did on a real GPU against what fakerun predicts: all counters of the allocator, its segments, and each request.

    python scripts/dev/gpu/compare_programs.py programs.json.gz            # fakerun runs each program
    python scripts/dev/gpu/compare_programs.py programs.json.gz --only fsdp-1b --show 20
    python scripts/dev/gpu/compare_programs.py tests/oracles/gpu_programs/*_torch_2_11.json.gz --page docs/accuracy_on_a_gpu.md

The prediction is the same program run by the `fakerun` command for the same card: there the allocator's answers come from fakerun.
Exit status 1: a counter or a segment is off by more than `tolerances.py` says, or a program that was measured is not predicted.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabulate import tabulate

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from dev.gpu.programs import PROGRAMS, Program, kinds  # noqa: E402
from dev.gpu.reduced_programs import counters_of, trace_of  # noqa: E402
from dev.gpu.tolerances import KNOWN, SMALL_SEGMENTS, TOLERANCES, Difference, differences  # noqa: E402

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
    """Peaks in bytes, measured and predicted, and how many of how many requests are the same in the same order, where they were kept.

    `equal_counters` of `counters` are the same; `differences` are those that are off by more than they may be.
    """

    name: str
    program: Program
    allocated: tuple[int, int]
    reserved: tuple[int, int]
    requests: int
    equal_requests: int
    counters: int
    equal_counters: int
    differences: Sequence[Difference]

    @property
    def command(self) -> str:
        return f"{self.program.script} {self.program.words}".strip()


@dataclass(frozen=True, kw_only=True)
class Card:
    """What ran on one card: with which version of torch, when, and how many optimizer steps of each program.

    `not_compared` has by program the reason why nothing is said of it, though it was measured.
    """

    device: str
    torch: str
    date: str
    steps: int
    comparisons: Sequence[Comparison]
    not_compared: Mapping[str, str]

    @property
    def agrees(self) -> bool:
        """Whether nothing that was measured is off by more than it may be, but for what is known."""
        return not self.not_compared and all(each.known for one in self.comparisons for each in one.differences)


def compared(name: str, program: Program, measured: dict[str, Any], predicted: dict[str, Any], show: int) -> Comparison:
    real, ours = counters_of(measured), counters_of(predicted)
    allocated, reserved = ((real[peak], ours[peak]) for peak in ("allocated_bytes.all.peak", "reserved_bytes.all.peak"))
    requests = [item[:3] for item in normalised(trace_of(measured))]
    unequal = list(alignment(requests, [item[:3] for item in normalised(predicted["trace"])])) if requests else []
    for index, there, here in unequal[:show]:
        print(f"{name}, request {index}: measured {there[:12]}, predicted {here[:12]}")
    return Comparison(
        name=name,
        program=program,
        allocated=allocated,
        reserved=reserved,
        requests=len(requests),
        equal_requests=len(requests) - sum(len(there) for _, there, _ in unequal),
        counters=len(real),
        equal_counters=sum(ours.get(counter) == count for counter, count in real.items()),
        differences=tuple(differences(name, measured, predicted)),
    )


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
    yield f"Predicted with torch {version('torch')}."
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
    yield from ("", "## Tolerances", "", *tolerances())


def tolerances() -> Iterator[str]:
    """What a difference must exceed to be one, and which are known."""
    yield "A prediction that is off by more than this, in any counter of `torch.cuda.memory_stats` after the last step, fails the"
    yield "comparison: by the larger of a share of what was measured and an amount. It is what the programs above stay within, rounded up."
    yield ""
    rows = [(one.what, f"{100 * one.share:g} %", _amount(one.counters[0], one.amount), one.why) for one in TOLERANCES]
    yield from tabulate(rows, headers=("counters", "share", "amount", "because of"), tablefmt="github", disable_numparse=True).splitlines()
    yield ""
    yield f"Of segments at the end, {SMALL_SEGMENTS} for small blocks may be too many or too few; those for large blocks are the same."
    yield "Differences beyond that which are known, and fail nothing:"
    yield ""
    for each in KNOWN:
        yield f"- {_code(each.programs)}, {_code(each.counters)}: {each.why}."


def _code(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _amount(counter: str, amount: int) -> str:
    """In the counter's unit."""
    if amount == 0 or "_bytes" not in counter:
        return str(amount)
    return f"{amount >> 20} MiB" if amount >= 2**20 else f"{amount >> 10} KiB"


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
    equal, counters = (sum(getattr(one, name) for one in comparisons) for name in ("equal_counters", "counters"))
    unknown = sum(not each.known for one in comparisons for each in one.differences)
    beyond = sum(len(one.differences) for one in comparisons) - unknown
    yield (
        f"- Counters of `torch.cuda.memory_stats`: {100 * equal / counters:.1f} % of {counters:,} are the same; beyond their tolerance are "
        f"{beyond} that are known and {unknown or 'no'} others."
    )
    equal, requests = (sum(getattr(one, name) for one in comparisons) for name in ("equal_requests", "requests"))
    if requests:
        yield f"- {100 * equal / requests:.2f} % of {requests:,} requests and frees are predicted in order."


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare measured programs with fakerun's predictions.")
    parser.add_argument("measured", type=Path, nargs="+", help="files that programs.py has written on GPUs")
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--show", type=int, default=0, help="so many differences of each program's requests")
    parser.add_argument("--again", action="store_true", help="predict again what has been predicted before")
    parser.add_argument("--predicted", type=Path, help="directory of the predictions, which are kept there, by card")
    parser.add_argument(
        "--at-once", type=int, default=len(os.sched_getaffinity(0)), help="so many predictions at once; by default a core each"
    )
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no prediction starts after so many")
    parser.add_argument("--page", type=Path, help="where to write the page")
    return parser.parse_args(argv)


def compared_card(documents: Sequence[dict[str, Any]], args: argparse.Namespace, directory: Path, ends_at: float) -> Card:
    """What one card did in all its files; prints the comparison."""
    environment = documents[0]["environment"]
    known, hardware = {**PROGRAMS, **kinds()}, hardware_of(environment["device"])
    directory = directory / hardware
    directory.mkdir(parents=True, exist_ok=True)
    measured = {name: one for document in documents for name, one in document["programs"].items() if not args.only or name in args.only}
    for name in [name for name, one in measured.items() if "error" in one]:
        print(f"{name}: not measured: {measured.pop(name)['error'][:100]}")
    steps = documents[0]["steps"]

    def predicted(name: str) -> dict[str, Any]:
        out = directory / f"{name}.json.gz"
        if name not in known:
            return {"error": "not a program any more"}
        if args.again or not out.exists():
            if time.monotonic() > ends_at:
                return {"error": "no time left"}
            print(f"{name} is predicted", file=sys.stderr)
            predict(name, known[name], steps, out, hardware)
        document: dict[str, Any] = read(out)
        return document if document.get("stats") and "trace" in document else {"error": document.get("error", "fakerun stopped it")}

    comparisons, not_compared = [], {}
    with ThreadPoolExecutor(args.at_once) as pool:
        for name, prediction in zip(measured, pool.map(predicted, measured), strict=True):
            if "error" in prediction:
                not_compared[name] = prediction["error"]
            else:
                comparisons.append(compared(name, known[name], measured[name], prediction, args.show))
    about = {key: environment[key] for key in ("device", "torch", "date")}
    return Card(**about, steps=steps, comparisons=comparisons, not_compared=not_compared)


def report(card: Card) -> Iterator[str]:
    """What is printed of a card."""
    yield card.device
    yield tabulate([(one.name, *cells(one)) for one in card.comparisons], headers=("program", *HEADERS), disable_numparse=True)
    if card.comparisons:
        yield from summary(card.comparisons)
    for one in card.comparisons:
        yield from (f"{one.name}: {each}" for each in one.differences)
    yield from (f"{name}: not predicted: {reason[:200]}" for name, reason in card.not_compared.items())
    if (here := version("torch").partition("+")[0]) != (there := card.torch.partition("+")[0]):
        yield f"Measured with torch {there} and predicted with torch {here}: what the two do differently is off, too."
    yield f"{card.device}: {'agrees' if card.agrees else 'DIFFERS'}"


def hardware_of(device: str) -> str:
    """The name in fakerun's catalogue of what the driver calls `device`."""
    for name, hardware in known_hardware().items():
        if hardware.accelerator.device_name == device:
            return name
    raise SystemExit(f"no accelerator of fakerun/hardware/accelerators.yaml has the device name {device!r}: add it there")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    ends_at = time.monotonic() + args.seconds
    directory = args.predicted or Path(tempfile.mkdtemp(prefix="predicted-"))
    of_card: dict[str, list[dict[str, Any]]] = {}
    for path in args.measured:
        document = read(path)
        of_card.setdefault(document["environment"]["device"], []).append(document)
    cards = [compared_card(documents, args, directory, ends_at) for documents in of_card.values()]
    for card in cards:
        print(*report(card), sep="\n")
    if args.page:
        args.page.write_text("\n".join(page(cards)) + "\n")
    return int(not all(card.agrees for card in cards))


if __name__ == "__main__":
    raise SystemExit(main())
