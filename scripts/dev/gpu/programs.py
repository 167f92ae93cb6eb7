"""Training programs on a real GPU: one rank of each runs with CUDA tensors, and what its allocator did is written.

Collectives go to torch's fake process group, in which they return at once and move nothing: the rank allocates what it would allocate
among so many ranks. DDP's reducer asks for results, which the fake group's handles do not have: DDP runs over NCCL with one rank.

    python scripts/dev/gpu/programs.py --out programs.json.gz --seconds 180

For each program: all counters of `torch.cuda.memory_stats` after each optimizer step, segments at the end, and the allocator's own trace
as `[action, address, bytes, stream]`. With `--mode time`, one program after the other: milliseconds of each step between CUDA events, and
kernels and operations of the last step from torch's profiler. There all_gather copies the rank's own shard into each place, so that
products work on weights rather than on what was in memory.
"""

import argparse
import contextlib
import gzip
import importlib
import json
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
EXPANDABLE = "expandable_segments:True"


@dataclass(frozen=True, kw_only=True)
class Program:
    """A script with its arguments, and which of how many ranks runs.

    It is stopped after so many optimizer steps, unless it runs to its end. GiB is what it may take: no more than fits runs at once.
    """

    script: str
    words: str = ""
    world_size: int = 8
    rank: int = 0
    backend: str = "fake"
    settings: str = ""
    gib: int = 8
    timed: bool = False
    to_its_end: bool = False


def llama(script: str, words: str, **others: Any) -> Program:
    return Program(script=f"scripts/train_{script}.py", words=words, **others)


def one_gpu(words: str, **others: Any) -> Program:
    return Program(script="tests/memory_advice/train.py", words=words, world_size=1, gib=30, **others)


PROGRAMS = {
    "fsdp-1b": llama("fsdp", "--model 1b --seq-len 8192", gib=20, timed=True),
    "fsdp-8b": llama("fsdp", "--model 8b --seq-len 8192", gib=46, timed=True),
    "fsdp-8b-expandable": llama("fsdp", "--model 8b --seq-len 8192", gib=46, settings=EXPANDABLE),
    "fsdp-8b-kept": llama("fsdp", "--model 8b --seq-len 2048 --activation-checkpointing none", gib=46, timed=True),
    "fsdp-8b-selective": llama("fsdp", "--model 8b --seq-len 4096 --activation-checkpointing selective", gib=46),
    "fsdp-8b-64": llama("fsdp", "--model 8b --seq-len 4096", world_size=64, gib=30),
    "fsdp-1b-never": llama("fsdp", "--model 1b --seq-len 8192 --reshard-after-forward never", gib=25),
    "fsdp-1b-float32": llama("fsdp", "--model 1b --seq-len 4096 --dtype float32", gib=30),
    "ddp-1b-expandable": llama("ddp", "", world_size=1, backend="nccl", gib=45, settings=EXPANDABLE),
    "tp-fsdp-8b": llama("tp_fsdp", "--model 8b --seq-len 4096", gib=35, timed=True),
    "4d-70b-first": llama("4d", "--model 70b --pp 4 --cp 1 --tp 4 --seq-len 4096", world_size=64, gib=46),
    "4d-70b-last": llama("4d", "--model 70b --pp 4 --cp 1 --tp 4 --seq-len 4096", world_size=64, rank=63, gib=50),
    "4d-70b-ring": llama("4d", "--model 70b --pp 4 --cp 2 --tp 4 --seq-len 4096", world_size=64, gib=50),
    # The last of those that are timed. Its model is built, and initialised again, by the host, which takes most of its time: 35 s in all
    # beside an H200; beside an H100 it was stopped after 22 s, and once more after 55 s, and had written nothing.
    "ddp-1b": llama("ddp", "", world_size=1, backend="nccl", gib=45, timed=True),
    "gpt-bf16": one_gpu(""),
    "gpt-checkpointing": one_gpu("--checkpointing"),
    "gpt-expandable": one_gpu("", settings=EXPANDABLE),
    "gpt-autocast": one_gpu("--autocast --tokens 8192"),
    "gpt-autocast-fused": one_gpu("--autocast --tokens 8192 --fused"),
    "gpt-keep-gradients": one_gpu("--keep-gradients"),
    "gpt-zero-grad-late": one_gpu("--zero-grad-late --tokens 12288"),
    "gpt-chunks": one_gpu("--chunks 8"),
    "gpt-garbage-collection": one_gpu("", settings="garbage_collection_threshold:0.6,max_split_size_mb:256"),
    "gpt-roundup": one_gpu("", settings="roundup_power2_divisions:8"),
}


def kinds() -> dict[str, Program]:
    """One program for each kind of training of `kinds_of_training.py`."""
    sys.path.insert(0, str(Path(__file__).parent))
    module = importlib.import_module("kinds_of_training")
    return {f"kind-{name}": of_kind(name, kind.world_size) for name, kind in module.KINDS.items()}


ONE_RANK_OVER_NCCL = {"zero-redundancy-optimizer", "pipeline-zero-bubble", "pipeline-zero-bubble-v"}
"""Beside those of DDP. Of these pipelines the one rank has all stages."""


def of_kind(name: str, ranks: int) -> Program:
    over_nccl = name.startswith("ddp") or name in ONE_RANK_OVER_NCCL
    return Program(
        script="scripts/dev/gpu/kinds_of_training.py",
        words=f"--kind {name} --model medium --steps 3",
        world_size=1 if over_nccl else ranks,
        rank=0 if over_nccl else ranks - 1,
        backend="nccl" if over_nccl else "fake",
        gib=10,
        to_its_end=True,
    )


# -- the process of one program -------------------------------------------------------------------------------------------------------


class Steps:
    """Calls back after each optimizer step, and ends the program after the last."""

    def __init__(self, count: float, after: Callable[[int], None]) -> None:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self.count, self.taken, self.after = count, 0, after
        register_optimizer_step_post_hook(self.step_taken)

    def step_taken(self, *_: Any) -> None:
        self.taken += 1
        self.after(self.taken)
        if self.taken == self.count:
            raise SystemExit(0)


def join_group(program: Program) -> None:
    """Let the script join a process group in which this rank is alone or among fake ones."""
    import torch.distributed as dist

    local = min(program.world_size, 8)
    ranks = {"RANK": program.rank, "LOCAL_RANK": 0, "WORLD_SIZE": program.world_size, "LOCAL_WORLD_SIZE": local}
    os.environ.update({name: str(number) for name, number in ranks.items()}, MASTER_ADDR="localhost", MASTER_PORT="0")
    join, new_group = dist.init_process_group, dist.new_group

    def join_this(*_: Any, **__: Any) -> None:
        if program.backend == "fake":
            join("fake", rank=program.rank, world_size=program.world_size)
        else:
            join("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]

    def new_fake_group(*args: Any, **others: Any) -> Any:
        return new_group(*args, **others | ({"backend": "fake"} if program.backend == "fake" else {}))

    modules: tuple[Any, ...] = (dist, dist.distributed_c10d, dist.device_mesh)
    for module in modules:
        module.init_process_group, module.new_group = join_this, new_fake_group


def gather_own_shards() -> None:
    """all_gather copies the rank's own shard into each place; reduce_scatter takes the rank's part of its own gradient."""
    import torch.distributed as dist

    def all_gather(output_tensor: Any, input_tensor: Any, group: Any = None, async_op: bool = False) -> Any:
        output_tensor.view(-1, input_tensor.numel()).copy_(input_tensor.reshape(1, -1).clone())
        return Done() if async_op else None

    def reduce_scatter(output: Any, input: Any, op: Any = None, group: Any = None, async_op: bool = False) -> Any:
        output.view(-1).copy_(input.reshape(-1)[: output.numel()].clone())
        return Done() if async_op else None

    modules: tuple[Any, ...] = (dist, dist.distributed_c10d)
    for module in modules:
        module.all_gather_into_tensor, module.reduce_scatter_tensor = all_gather, reduce_scatter


class Done:
    """The handle of a collective that has run."""

    def wait(self, *_: Any) -> bool:
        return True


def run_script(program: Program) -> None:
    script = ROOT / program.script
    sys.path.insert(0, str(script.parent))
    sys.argv = [str(script), *program.words.split()]
    with contextlib.suppress(SystemExit):
        runpy.run_path(str(script), run_name="__main__")


def measure_memory(program: Program, steps: int) -> dict[str, Any]:
    """What the allocator counted after each step, its segments at the end, and its trace."""
    import torch

    result: dict[str, Any] = {"stats": []}

    def after(step: float) -> None:
        result["stats"] = [*result["stats"][-7:], dict(torch.cuda.memory_stats())]
        if step == steps:
            result["free_and_total"] = list(torch.cuda.mem_get_info())
            snapshot = torch.cuda.memory._snapshot()  # noqa: SLF001
            result["segments"] = [segment_row(segment) for segment in snapshot["segments"]]
            result["trace"] = [trace_row(entry) for entry in snapshot["device_traces"][0]]

    torch.cuda.memory._record_memory_history("all", context=None, stacks="python", max_entries=1_000_000)  # noqa: SLF001
    Steps(inf if program.to_its_end else steps, after if not program.to_its_end else lambda _: None)
    try:
        run_script(program)
    finally:
        if "trace" not in result:
            after(steps)
    return result


def segment_row(segment: dict[str, Any]) -> dict[str, Any]:
    """A segment as the snapshot has it, without stacks."""
    kept = ("address", "total_size", "stream", "segment_type", "segment_pool_id", "is_expandable")
    blocks = [[block["size"], block.get("requested_size", block["size"]), block["state"]] for block in segment["blocks"]]
    return {**{key: segment[key] for key in kept if key in segment}, "blocks": blocks}


def trace_row(entry: dict[str, Any]) -> list[Any]:
    return [entry["action"], entry.get("addr", entry.get("device_free", 0)), entry["size"], entry["stream"]]


def measure_time(program: Program, steps: int) -> dict[str, Any]:
    """Milliseconds of each step but the first and the last, and the profile of the last one."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    gather_own_shards()
    result: dict[str, Any] = {}
    ends: list[Any] = []
    host: list[float] = []
    profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], record_shapes=True)

    def after(step: int) -> None:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        ends.append(event)
        host.append(time.perf_counter())
        if step == steps - 1:
            torch.cuda.synchronize()
            profiler.__enter__()
        elif step == steps:
            torch.cuda.synchronize()
            profiler.__exit__(None, None, None)

    Steps(steps, after)
    run_script(program)
    torch.cuda.synchronize()
    result["step_ms"] = [before.elapsed_time(end) for before, end in pairwise(ends[:-1])]
    result["host_ms"] = [1e3 * (end - before) for before, end in pairwise(host[:-1])]
    return {**result, **profiled(profiler)}


def profiled(profiler: Any) -> dict[str, Any]:
    """Operations by shapes, kernels by name and stream, and each kernel in order: start, duration (us), stream."""
    operations = [
        [row.key, str(row.input_shapes), row.count, row.self_device_time_total, row.self_cpu_time_total]
        for row in profiler.key_averages(group_by_input_shape=True)
    ]
    with TemporaryDirectory() as directory:
        path = Path(directory, "trace.json")
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text())["traceEvents"]
    kept = ("kernel", "gpu_memcpy", "gpu_memset")
    kernels = [event for event in events if event.get("cat") in kept]
    names = sorted({event["name"] for event in kernels})
    number = {name: index for index, name in enumerate(names)}
    rows = sorted([round(event["ts"], 3), round(event["dur"], 3), event["args"].get("stream"), number[event["name"]]] for event in kernels)
    return {"operations": operations, "kernel_names": names, "kernels": rows}


def run_one(name: str, mode: str, steps: int, out: Path) -> None:
    """The child process: one program, and its file even if it fails."""
    import torch

    program = {**PROGRAMS, **kinds()}[name]
    try:
        torch.cuda.synchronize()  # makes the context before anything is recorded
        join_group(program)
        result = measure_memory(program, steps) if mode == "memory" else measure_time(program, steps)
    except BaseException as error:
        import traceback

        result = {"error": f"{type(error).__name__}: {error}"[:2000], "traceback": traceback.format_exc()[-3000:]}
    document = json.dumps({"program": asdict(program), **result})
    with gzip.open(out, "wt", compresslevel=4) as file:
        file.write(document)
    sys.stdout.flush()
    os._exit(0)  # nothing of the program is waited for


# -- all of them ----------------------------------------------------------------------------------------------------------------------


class Room:
    """How many GiB of the card running programs may still take."""

    def __init__(self, gib: int) -> None:
        from threading import Condition

        self.free, self.changed = gib, Condition()

    @contextlib.contextmanager
    def taken(self, gib: int) -> Any:
        with self.changed:
            self.changed.wait_for(lambda: self.free >= gib)
            self.free -= gib
        try:
            yield
        finally:
            with self.changed:
                self.free += gib
                self.changed.notify_all()


def child(name: str, program: Program, args: argparse.Namespace, directory: Path, ends_at: float, room: Room) -> dict[str, Any]:
    """Run one program in a process of its own and return what it wrote."""
    with room.taken(min(program.gib, args.gib)):
        left = ends_at - time.monotonic()
        if left < args.least_seconds:
            return {"error": "no time left"}
        out = directory / f"{name}.json.gz"
        command = [sys.executable, __file__, "--run", name, "--mode", args.mode, "--steps", str(args.steps), "--out", str(out)]
        environment = {**os.environ, "PYTORCH_CUDA_ALLOC_CONF": program.settings} if program.settings else None
        started = time.monotonic()
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=min(left, 90), check=False)
            tail = (done.stdout + done.stderr)[-1500:]
        except subprocess.TimeoutExpired as error:
            tail = f"stopped after {error.timeout:.0f} s: {str(error.stdout)[-500:]} {str(error.stderr)[-500:]}"
        seconds = time.monotonic() - started
        if not out.exists():
            result: dict[str, Any] = {"error": "wrote nothing"}
        else:
            with gzip.open(out, "rt") as file:
                result = json.load(file)
        print(f"{name}: {seconds:.0f} s{' ' + result['error'][:150] if 'error' in result else ''}", flush=True)
        return {**result, "seconds": round(seconds, 1), "output": tail}


def environment() -> dict[str, Any]:
    import torch

    about = {"torch": torch.__version__, "cuda": torch.version.cuda, "date": time.strftime("%Y-%m-%d")}
    with contextlib.suppress(Exception):
        about["device"] = torch.cuda.get_device_name(0)
        smi = subprocess.run(["nvidia-smi", "-q", "-d", "MEMORY,CLOCK,POWER"], capture_output=True, text=True, check=False)
        about["nvidia_smi"] = smi.stdout
    return about


def write(results: dict[str, Any], out: Path) -> None:
    partial = out.with_suffix(".partial")
    with gzip.open(partial, "wt", compresslevel=6) as file:
        json.dump(results, file)
    partial.replace(out)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run training programs on this GPU and write what they allocate, or how long they take.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mode", choices=("memory", "time"), default="memory")
    parser.add_argument("--which", choices=("all", "large", "kinds"), default="all", help="large programs, kinds of training, or both")
    parser.add_argument("--only", type=lambda text: text.split(","), help="names of programs")
    parser.add_argument("--steps", type=int, default=0, help="optimizer steps; by default 3, and 6 with --mode time")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--least-seconds", type=float, default=12.0, help="no program starts with less time left")
    parser.add_argument("--gib", type=int, default=70, help="of the card's memory that programs may take together")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.steps = args.steps or {"memory": 3, "time": 6}[args.mode]
    return args


def main() -> None:
    args = parse_args()
    if args.run:
        run_one(args.run, args.mode, args.steps, args.out)
    programs = {"all": {**PROGRAMS, **kinds()}, "large": PROGRAMS, "kinds": kinds()}[args.which]
    if args.mode == "time":
        programs = {name: program for name, program in programs.items() if program.timed}
    if args.only:
        programs = {name: programs[name] for name in args.only}
    ends_at = time.monotonic() + args.seconds
    room = Room(args.gib)
    results: dict[str, Any] = {}
    at_once = 1 if args.mode == "time" else 8
    with TemporaryDirectory() as directory, ThreadPoolExecutor(at_once) as pool:
        about = pool.submit(environment)
        asked = {pool.submit(child, name, program, args, Path(directory), ends_at, room): name for name, program in programs.items()}
        for future in as_completed(asked):
            results[asked[future]] = future.result()
            write({"environment": about.result(), "steps": args.steps, "programs": results}, args.out)


if __name__ == "__main__":
    main()
