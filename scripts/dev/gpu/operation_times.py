"""Measures on one GPU what operations of training take: the raw figures from which a step is priced.

    python scripts/dev/gpu/operation_times.py --out times.json.gz                # 160 s
    python scripts/dev/gpu/operation_times.py --out times.json.gz --seconds 60   # the most important of each section
    python scripts/dev/gpu/operation_times.py --list                             # what is measured
    python scripts/dev/gpu/operation_times.py --out times.json.gz --dry-run      # tiny tensors on the CPU, to try the program

It needs torch, and pynvml for clocks and power. The file (gzip, JSON) has the environment and `entries`; an entry has its kind, its name,
what was measured (shape, dtype, layout, ...) and either figures, in microseconds, or `error`. Inputs are random and, where they would fit
into the cache, taken in turn from several sets. `us_median` and `us_min` are over batches of `n` launches back to back, timed by events
behind a kernel that lets the host run ahead (`host_ahead`); the clock and the power read after each item stand beside.

Each section has a share of the seconds; what it leaves goes to those after it. Within a section the most important come first.
"""

import argparse
import gc
import gzip
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # scripts/
from dev.gpu.operations import attention, blocks, compiled, launches, memory_bound, optimizers, products, streams
from dev.gpu.operations.bench import Bench, Item

Items = Callable[[], Iterator[Item]]

SECTIONS: dict[str, tuple[Items, float]] = {
    "products": (products.items, 0.11),
    "attention": (attention.items, 0.12),
    "memory_bound": (memory_bound.items, 0.07),
    "optimizers": (optimizers.items, 0.10),
    "launches": (launches.items, 0.06),
    "streams": (streams.items, 0.04),
    "sustained": (products.sustained_items, 0.11),
    "blocks": (blocks.items, 0.16),
}
"""Sections in order, with their share of the seconds. What is compiled has the rest, in a process of its own."""

COMPILED_SHARE = 0.23
REST_S = 1.0
"""Before each section: a card at its power limit needs some tenths of a second until its clock is back."""
WRITE_EVERY_S = 15


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what operations take on one GPU.")
    parser.add_argument("--out", type=Path, help="where the figures are written (.json.gz)")
    parser.add_argument("--seconds", type=float, default=160)
    parser.add_argument("--sections", type=lambda text: text.split(","), default=[*SECTIONS, "compiled"])
    parser.add_argument("--list", action="store_true", help="print the items and measure nothing")
    parser.add_argument("--dry-run", action="store_true", help="tiny tensors on the CPU")
    parser.add_argument("--cap", type=int, help="largest dimension, to try the program where the sizes do not fit")
    parser.add_argument("--every", type=int, default=1, help="measure each so-manieth item only")
    args = parser.parse_args(argv)
    if not args.list and args.out is None:
        parser.error("--out is missing")
    if unknown := set(args.sections) - {*SECTIONS, "compiled"}:
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    if args.list:
        for name, (items, _) in (SECTIONS | {"compiled": (compiled.items, 0)}).items():
            for item in items():
                print(name, item.kind, item.name, json.dumps(item.fields))
        return 0
    device = "cpu" if args.dry_run else "cuda"
    run = Run(args, Bench(device, cap=args.cap or (16 if args.dry_run else None)))
    if args.sections == ["compiled"]:
        run.section("compiled", compiled.items(), args.seconds)
    else:
        run.all_sections()
    run.write()
    failed = sum("error" in entry for entry in run.entries)
    print(f"{len(run.entries)} entries, {failed} of them errors, {run.elapsed():.0f} s, {args.out}")
    return 0


class Run:
    """The entries so far, the time that has passed, and the file they go to."""

    def __init__(self, args: argparse.Namespace, bench: Bench) -> None:
        self.args, self.bench = args, bench
        self.started = time.perf_counter()
        self.written = self.started
        self.entries: list[dict[str, Any]] = []
        self.left_out: dict[str, int] = {}
        self.environment = environment(bench)

    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def all_sections(self) -> None:
        allowed = self.elapsed()
        for name, (items, share) in SECTIONS.items():
            allowed += share * self.args.seconds
            if name in self.args.sections:
                self.section(name, items(), allowed)
        if "compiled" in self.args.sections:
            self.compiled(min(COMPILED_SHARE * self.args.seconds + 10, self.args.seconds - self.elapsed()))

    def section(self, name: str, items: Iterable[Item], until_s: float) -> None:
        """Measure items until so many seconds have passed since the start."""
        time.sleep(REST_S if self.bench.on_gpu and not self.args.cap else 0)
        began, count = self.elapsed(), 0
        remaining = islice(items, 0, None, self.args.every)
        for item in remaining:
            if self.elapsed() > until_s:
                self.left_out[name] = 1 + sum(1 for _ in remaining)
                break
            self.entries.append({"section": name, **measured(item, self.bench), "at_s": round(self.elapsed(), 2)})
            count += 1
            if name == "compiled" or time.perf_counter() - self.written > WRITE_EVERY_S:
                self.write()
        print(f"{name}: {count} items in {self.elapsed() - began:.1f} s, left out {self.left_out.get(name, 0)}", flush=True)

    def compiled(self, seconds: float) -> None:
        """What is compiled, in a process of its own, ended when its time is over; what it has written by then counts."""
        if seconds < 5:
            self.left_out["compiled"] = sum(1 for _ in compiled.items())
            return
        self.write()
        out = self.args.out.with_name("compiled." + self.args.out.name)
        command = [sys.executable, __file__, "--out", str(out), "--sections", "compiled", "--seconds", str(seconds - 3)]
        command += ["--dry-run"] if self.args.dry_run else []
        command += ["--cap", str(self.args.cap)] if self.args.cap else []
        release(self.bench)
        try:
            subprocess.run(command, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            print(f"compiled: ended after {seconds:.0f} s", flush=True)
        if out.exists():
            document = json.loads(gzip.decompress(out.read_bytes()))
            self.entries += document["entries"]
            self.left_out |= document["left_out"]
            out.unlink()

    def write(self) -> None:
        """Write all of it beside the file, then put it in its place."""
        self.written = time.perf_counter()
        document = {
            "environment": self.environment,
            "board_at_end": self.bench.board.describe(),
            "seconds": round(self.elapsed(), 1),
            "left_out": self.left_out,
            "entries": self.entries,
        }
        beside = self.args.out.with_name(self.args.out.name + ".partial")
        beside.write_bytes(gzip.compress(json.dumps(document, separators=(",", ":")).encode(), mtime=0))
        beside.replace(self.args.out)


def measured(item: Item, bench: Bench) -> dict[str, Any]:
    """An entry: what was measured with its figures, or with the text of the error."""
    entry: dict[str, Any] = {"kind": item.kind, "name": item.name, **item.fields}
    began = time.perf_counter()
    try:
        entry |= item.measure(bench)
    except Exception as error:  # one kernel that a version lacks must not end the run
        entry["error"] = f"{type(error).__name__}: {error}"[:400]
        release(bench)
    entry["took_s"] = round(time.perf_counter() - began, 3)
    return entry


def release(bench: Bench) -> None:
    gc.collect()
    if bench.on_gpu:
        torch.cuda.empty_cache()


def environment(bench: Bench) -> dict[str, Any]:
    found: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "processor": platform.processor() or platform.machine(),
        "board": bench.board.describe(),
        "method": __doc__,
    }
    if bench.on_gpu:
        properties = torch.cuda.get_device_properties(0)
        found["device"] = {name: getattr(properties, name, None) for name in PROPERTIES}
        found["nccl"] = str(torch.cuda.nccl.version())
    return found


PROPERTIES = ("name", "major", "minor", "total_memory", "multi_processor_count", "L2_cache_size", "clock_rate", "memory_clock_rate")

if __name__ == "__main__":
    sys.exit(main())
