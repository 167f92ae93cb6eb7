"""What single operations request from the caching allocator of a GPU: every request and every free, in order.

    python scripts/dev/gpu/kernel_requests.py --out requests.json.gz [--seconds 90] [--sections attention,losses]

It needs torch alone. Under `fakerun` the same calls give what fakerun predicts, in the same form; `compare_kernel_requests.py` compares the
two. The file is written whole every twenty seconds and at the end. A call that fails has the text of its error; if the device is lost with
it, the program starts itself again behind that call.

Each call runs three times: the first time libraries take their workspaces. Of each run the file has its phases, `forward` and, if the call
has one, `backward`. A phase has, in order, `events`: the bytes of a request, or [bytes, stream] in another stream than the default one;
-n is the free of the n-th request of this run, counted over its phases; "-bytes" the free of what was alive before the run. `results` are
the numbers of the requests that hold results of the operation, or gradients. `requested_peak` and `allocated_peak` are bytes above what
was there before. A run that is equal to the one before is null.
"""

import argparse
import gc
import gzip
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dev.gpu.kernel_calls.call import Call
from dev.gpu.kernel_calls.table import SECTIONS
from dev.gpu.kernel_calls.trace import Marks, events_of

RUNS = 3
CALLS_OF_A_TRACE = 20
"""After so many calls the allocator's history is read and cleared."""
MOST_ENTRIES = 1_000_000
SAVE_EVERY_S = 20.0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="where the requests are written (gzipped JSON)")
    parser.add_argument("--seconds", type=float, default=90.0, help="stop before the next call after so long")
    parser.add_argument("--sections", type=lambda text: text.split(","), default=list(SECTIONS), help=", ".join(SECTIONS))
    parser.add_argument("--gib", type=float, help="the most memory that the allocator reserves; by default all of the device")
    parser.add_argument("--resume", action="store_true", help="keep what the file has, and go on behind its last call")
    args = parser.parse_args(argv)
    if unknown := set(args.sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; known: {', '.join(SECTIONS)}")
    return args


# -- one call ----------------------------------------------------------------------------------------------------------------------------


class Measurement:
    """Runs calls, and reads what they requested from the allocator's history."""

    def __init__(self, runs: int = RUNS) -> None:
        self._runs = runs
        self._marks = Marks()
        self._pending: list[tuple[dict[str, Any], list[list[dict[str, Any]]]]] = []
        gc.freeze()  # torch's own objects, which each collection would traverse
        self._clear()

    def run(self, call: Call, entry: dict[str, Any]) -> None:
        """Run the call; its entry is complete after `read`."""
        runs: list[list[dict[str, Any]]] = []
        self._pending.append((entry, runs))
        with call.context():
            arguments, options = call.made_arguments(), call.made_options()
            for _ in range(self._runs):
                phases: list[dict[str, Any]] = []
                runs.append(phases)
                self._run_once(call, arguments, options, phases)

    def _run_once(self, call: Call, arguments: list[Any], options: dict[str, Any], phases: list[dict[str, Any]]) -> None:
        leaves = list(_tensors([*arguments, *options.values()]))
        if call.backward:
            for leaf in leaves:
                leaf.grad = None
        if call.fresh:
            torch._C._cuda_clearCublasWorkspaces()  # noqa: SLF001
        with self._phase("forward", phases) as phase:
            result = call.run(*arguments, **options)
        outputs = list(_tensors(result))
        phase["results"] = _addresses(outputs)
        if not call.backward:
            return
        outputs = [output for output in outputs if output.requires_grad]
        gradients = [torch.ones_like(output) for output in outputs]
        with self._phase("backward", phases) as phase:
            torch.autograd.backward(outputs, gradients)
        phase["results"] = _addresses([leaf.grad for leaf in leaves if leaf.grad is not None])

    def _phase(self, name: str, phases: list[dict[str, Any]]) -> "_Phase":
        return _Phase(name, phases, self._marks)

    def read(self) -> None:
        """Complete the entries of the calls since the last time, and forget what the allocator recorded."""
        self.complete()
        self._clear()

    def complete(self) -> None:
        """Complete the entries; this does not use the device."""
        traces = torch.cuda.memory._snapshot()["device_traces"]  # noqa: SLF001
        trace = traces[torch.cuda.current_device()] if traces else []
        positions = self._marks.positions(trace)
        for entry, runs in self._pending:
            written: list[Any] = []
            for phases in runs:
                requests: dict[int, int] = {}
                complete = [events_of(trace, positions, phase, requests) for phase in phases if "end" in phase]
                written.append(complete)
            entry["runs"] = [None if number and run == written[number - 1] else run for number, run in enumerate(written)]
        self._pending.clear()

    def _clear(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        self._marks.forget()
        record = torch.cuda.memory._record_memory_history  # noqa: SLF001
        record("all", context=None, stacks="python", max_entries=MOST_ENTRIES, clear_history=True)


class _Phase:
    """Marks its begin and end in the history, and keeps the peaks between them."""

    def __init__(self, name: str, phases: list[dict[str, Any]], marks: Marks) -> None:
        self._phase: dict[str, Any] = {"name": name}
        phases.append(self._phase)
        self._marks = marks

    def __enter__(self) -> dict[str, Any]:
        self._phase["begin"] = self._marks.set()
        torch.cuda.reset_peak_memory_stats()
        self._before = _statistics()
        return self._phase

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is not None:
            return
        after = _statistics()
        for name in ("requested", "allocated"):
            key = f"{name}_bytes.all"
            self._phase[f"{name}_peak"] = after[f"{key}.peak"] - self._before[f"{key}.current"]
        self._phase["end"] = self._marks.set()


def _statistics() -> dict[str, int]:
    return dict(torch.cuda.memory_stats())


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in the value: a tensor, a module, an optimizer, or a collection."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, torch.nn.Module):
        yield from value.parameters()
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _tensors(each)


def _addresses(tensors: list[torch.Tensor]) -> list[int] | None:
    """Where their storages begin; None where the tensors have no addresses."""
    try:
        return [tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.is_cuda and not tensor.is_sparse]
    except RuntimeError:
        return None


# -- all calls ---------------------------------------------------------------------------------------------------------------------------


def measure(args: argparse.Namespace, data: dict[str, Any]) -> None:
    """Run the calls of the sections into `data`, until the time is over."""
    began = saved = time.monotonic()
    calls = [(section, call) for section in args.sections for call in SECTIONS[section]()]
    entries: list[dict[str, Any]] = data["calls"]
    done, data["left_out"] = len(entries), 0
    measurement = Measurement()
    for number, (section, call) in enumerate(islice(calls, done, None), done):
        entry: dict[str, Any] = {"section": section, "name": call.name}
        entries.append(entry)
        started = time.monotonic()
        lost = not _measured(measurement, call, entry)
        entry["seconds"] = round(time.monotonic() - started, 4)
        if lost:
            measurement.complete()
            save(args.out, data)
            print(f"{number + 1}/{len(calls)} {call.name}: the device is lost; starting again behind it", flush=True)
            _start_again(args, time.monotonic() - began)
        over = time.monotonic() - began > args.seconds
        if over or (number + 1) % CALLS_OF_A_TRACE == 0 or number + 1 == len(calls):
            measurement.read()
        if over or time.monotonic() - saved > SAVE_EVERY_S:
            saved = time.monotonic()
            save(args.out, data)
            print(f"{number + 1}/{len(calls)} calls in {saved - began:.0f} s, in {section}", flush=True)
        if over:
            data["left_out"] = len(calls) - number - 1
            break


def _measured(measurement: Measurement, call: Call, entry: dict[str, Any]) -> bool:
    """Whether the device can be used after the call."""
    try:
        measurement.run(call, entry)
    except Exception as error:
        entry["error"] = f"{type(error).__name__}: {str(error)[:500]}"
        entry["at"] = traceback.format_exc(limit=-1)[-300:]
        del error
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        entry["lost"] = str(error)[:300]
        return False
    return True


def _start_again(args: argparse.Namespace, passed_s: float) -> None:
    """In a new process image: after some errors of CUDA nothing of this one can use the device."""
    options = ["--out", str(args.out), "--sections", ",".join(args.sections), "--resume"]
    options += ["--gib", str(args.gib)] if args.gib else []
    os.execv(sys.executable, [sys.executable, __file__, *options, "--seconds", str(max(args.seconds - passed_s, 1.0))])


def described() -> dict[str, Any]:
    """The device, and the versions of what runs on it."""
    device = torch.cuda.get_device_properties(0)
    return {
        "device": device.name,
        "capability": list(torch.cuda.get_device_capability(0)),
        "multiprocessors": device.multi_processor_count,
        "memory_bytes": device.total_memory,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "driver": _driver(),
        "python": platform.python_version(),
        "variables": {name: value for name, value in os.environ.items() if name.startswith(("PYTORCH_", "CUBLAS", "TORCH_", "CUDNN"))},
    }


def _driver() -> str | None:
    version = Path("/proc/driver/nvidia/version")
    return version.read_text().partition("\n")[0] if version.exists() else None


def save(path: Path, data: dict[str, Any]) -> None:
    partial = path.with_suffix(f".{os.getpid()}")
    with gzip.open(partial, "wt", compresslevel=6) as file:
        json.dump(data, file, separators=(",", ":"))
    partial.replace(path)


def main() -> None:
    args = parse_args()
    torch.manual_seed(0)
    if args.gib:
        torch.cuda.set_per_process_memory_fraction(args.gib * 2**30 / torch.cuda.get_device_properties(0).total_memory)
    data: dict[str, Any] = {**described(), "runs": RUNS, "calls": []}
    if args.resume and args.out.exists():
        with gzip.open(args.out, "rt") as file:
            data = json.load(file)
    try:
        measure(args, data)
    finally:
        save(args.out, data)
    failed = sum("error" in entry for entry in data["calls"])
    print(f"{len(data['calls'])} calls, {failed} failed, {data['left_out']} left out", flush=True)


if __name__ == "__main__":
    main()
