"""Records what the caching allocator of a real GPU does for random programs of allocations, under many settings of the allocator.

    python scripts/dev/gpu/allocator_events.py --out events.json.gz --seconds 90

It needs torch and a GPU; nothing of fakerun. Each (setting, kind of program) runs in a process of its own. What is written of each:

- `events`: what was asked, in order (`Program` names them), with the address of each allocation.
- `totals`: allocated, active and reserved bytes after each event.
- `checks`: after every so many events all counters of `torch.cuda.memory_stats` and all segments with their blocks.
- `trace`: what the allocator says that it did (`torch.cuda.memory._record_memory_history`): [action, address, bytes, stream].

Whether a stream has reached the end of a freed block's use decides what the next request gets. A stream is either idle (the program waits
for it after each such free), or busy with a kernel that spins for `SPIN_S`; whether that kernel is over is asked before each request.
"""

# ruff: noqa: SLF001 - torch has no public name for these

import argparse
import gc
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

MIB = 1024**2
SPIN_S = 0.04
STREAMS = 4


class Part(NamedTuple):
    """One process: a text of PYTORCH_CUDA_ALLOC_CONF, what its program does beside allocating and freeing, and the seed."""

    text: str
    kind: str
    seed: int = 0

    @property
    def name(self) -> str:
        return f"{self.kind} {self.seed} {self.text or 'default'}"


_COMBINED = "expandable_segments:True,max_split_size_mb:30,large_segment_size_mb:24,per_process_memory_fraction:0.005"
PARTS = (
    Part("", "streams"),
    Part("expandable_segments:True", "streams"),
    Part("", "pools"),
    Part("expandable_segments:True", "pools"),
    Part("", "graphs"),
    Part("expandable_segments:True", "graphs"),
    Part("per_process_memory_fraction:0.005", "streams"),
    Part("expandable_segments:True,per_process_memory_fraction:0.005", "streams"),
    Part("max_split_size_mb:40", "streams"),
    Part("max_split_size_mb:24,per_process_memory_fraction:0.004", "streams"),
    Part("large_segment_size_mb:32,max_split_size_mb:48,max_non_split_rounding_mb:64", "streams"),
    Part("roundup_power2_divisions:4", "streams"),
    Part("roundup_power2_divisions:[4:4,8:1,16:8,>:2]", "streams"),
    Part("garbage_collection_threshold:0.5,per_process_memory_fraction:0.005", "streams"),
    Part("garbage_collection_threshold:0.8,max_split_size_mb:32,per_process_memory_fraction:0.005", "streams"),
    Part("expandable_segments:True,garbage_collection_threshold:0.5,per_process_memory_fraction:0.005", "streams"),
    Part(_COMBINED, "streams"),
    Part("large_segment_size_mb:40", "streams"),
    Part("expandable_segments:True,large_segment_size_mb:40", "streams"),
    Part("backend:cudaMallocAsync", "streams"),
    Part("backend:cudaMallocAsync,per_process_memory_fraction:0.005", "streams"),
    Part("", "all", 1),
    Part("expandable_segments:True", "all", 1),
    Part("graph_capture_record_stream_reuse:True", "graphs"),
    Part("max_split_size_mb:40,per_process_memory_fraction:0.006", "all", 2),
    Part("garbage_collection_threshold:0.6,per_process_memory_fraction:0.006", "all", 3),
    Part("", "streams", 4),
    Part("expandable_segments:True", "streams", 4),
)
WHOLE_DEVICE = (Part("", "fill"), Part("expandable_segments:True", "fill"), Part("backend:cudaMallocAsync", "fill"))
"""These take all memory of the device, one after the other."""


def write(path: Path, content: object) -> None:
    """Write it whole or not at all, compressed if the name says so."""
    text = json.dumps(content, separators=(",", ":")).encode()
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    beside.replace(path)


# -- one process --------------------------------------------------------------------------------------------------------------------


class Program:
    """A random program. Its events, each a list that begins with a letter; numbers of blocks, pools and graphs count from 0:

    a block bytes stream address   allocate a tensor        o bytes stream text     the same, and memory ran out
    f block                        free it                  r block stream          record_stream
    b stream                       it is busy from now on   d stream                it is idle, seen before the next request
    D stream                       it is idle, seen after the last request          s stream    wait for it (null: for the device)
    e                              empty_cache              F fraction              set_per_process_memory_fraction
    m pool id use_on_oom no_split  make a MemPool           p pool / P pool         use_mem_pool begins / ends
    x pool                         delete the MemPool       h graph id              make a graph's pool handle
    g graph stream / G graph       its capture begins / ends                        y graph     replay it
    z graph                        reset it and delete it   ! text                  an error that is not expected; the program ends
    """

    def __init__(self, part: Part, torch: Any) -> None:
        self.torch = torch
        self.part = part
        self.chance = random.Random(part.name)
        self.native = "cudaMallocAsync" not in part.text
        self.pools = part.kind in ("pools", "all") and self.native
        self.graphs = part.kind in ("graphs", "all") and self.native
        self.events: list[list[Any]] = []
        self.totals: list[list[int]] = []
        self.checks: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self.streams = [torch.cuda.default_stream(), *(torch.cuda.Stream() for _ in range(STREAMS - 1))]
        self.numbers = {stream.cuda_stream: number for number, stream in enumerate(self.streams)}
        self.live: dict[int, tuple[Any, set[int]]] = {}
        self.blocks = 0
        self.busy: dict[int, Any] = {}
        self.deferred = False
        self.made_pools: dict[int, Any] = {}
        self.made_graphs: dict[int, Any] = {}
        self.counts = {"pool": 0, "graph": 0}
        self.in_pool: tuple[int, Any] | None = None
        self.capture: tuple[int, int, int] | None = None  # graph, stream, block that was next at its begin
        self.sizes = [int(2 ** self.chance.uniform(0, 26.5)) for _ in range(40)]
        self.most_live = self.chance.choice((40, 80, 120))
        self.cycles = 0

    def prepare(self) -> None:
        """Load what programs use, and make one graph, so that generators have what captures need."""
        torch = self.torch
        for stream in self.streams:
            with torch.cuda.stream(stream):
                torch.cuda._sleep(1000)
        torch.cuda.synchronize()
        begin = time.perf_counter()
        torch.cuda._sleep(20_000_000)
        torch.cuda.synchronize()
        self.cycles = int(SPIN_S / max(time.perf_counter() - begin, 1e-4) * 20_000_000)
        if self.graphs:
            self.first_graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(self.streams[1]):
                self.first_graph.capture_begin(capture_error_mode="relaxed")
                torch.cuda._sleep(1000)
                self.first_graph.capture_end()
            torch.cuda.synchronize()

    # what it does

    def run(self, events: int, end: float, check_every: int, save: Callable[[], None]) -> None:
        """`save` is called every few seconds: the process may die."""
        self.check()
        saved = time.perf_counter()
        choices: list[tuple[Callable[[], None], float]] = [
            (self.allocate, 100),
            (self.free, 60),
            (self.record_stream, 14),
            (self.occupy, 2),
            (self.wait, 2),
            (self.empty, 1),
            (self.limit, 1.2),
        ]
        if self.pools:
            choices += [(self.make_pool, 3), (self.switch_pool, 5), (self.delete_pool, 1.2)]
        if self.graphs:
            choices += [(self.switch_capture, 5), (self.replay, 1.5), (self.delete_graph, 1.2)]
        actions = [action for action, _ in choices]
        while len(self.events) < events and time.perf_counter() < end:
            weights = [weight for _, weight in choices]
            weights[1] = 110 if len(self.live) > self.most_live else 60
            before = len(self.events)
            self.chance.choices(actions, weights)[0]()
            if before // check_every != len(self.events) // check_every:
                self.check()
                if time.perf_counter() - saved > 3 and self.capture is None:
                    save()
                    saved = time.perf_counter()
        self.finish()

    def finish(self) -> None:
        if self.capture is not None:
            self.switch_capture()
        if self.in_pool is not None:
            self.switch_pool()
        self.check()
        while self.live:
            self.free()
        self.synchronize()
        for graph in list(self.made_graphs):
            self.drop_graph(graph)
        self.check()
        self.empty()
        self.check()

    def log(self, *event: Any) -> None:
        self.events.append(list(event))
        self.totals.append(self.now())

    def now(self) -> list[int]:
        counters = self.torch.cuda.memory_stats_as_nested_dict()
        names = ("allocated_bytes", "active_bytes", "reserved_bytes")
        return [counters.get(name, {}).get("all", {}).get("current", -1) for name in names]

    def note_idle(self, letter: str) -> None:
        for number, event in list(self.busy.items()):
            if event.query():
                del self.busy[number]
                self.log(letter, number)

    def allocate(self) -> None:
        torch = self.torch
        size = self.chance.choice(self.sizes) if self.chance.random() < 0.7 else int(2 ** self.chance.uniform(0, 26.5))
        number = self.chance.choice((0, 0, 1, 2))
        if self.capture is not None and self.chance.random() < 0.6:
            number = self.capture[1]
        if self.capture is None:
            self.note_idle("d")
        try:
            with torch.cuda.stream(self.streams[number]):
                tensor = torch.empty(size, dtype=torch.uint8, device="cuda")
        except torch.OutOfMemoryError as error:
            text = str(error)
            tensor = None
            del error
        if tensor is None:
            self.log("o", size, number, text)
        else:
            self.live[self.blocks] = (tensor, set())
            self.log("a", self.blocks, size, number, tensor.data_ptr())
            self.blocks += 1
        if self.capture is None:
            self.note_idle("D")
            if self.deferred and self.in_pool is None:
                self.deferred = False
                self.synchronize()
        if tensor is None:
            for _ in range(len(self.live) // 2):
                self.free()

    def free(self) -> None:
        """Wait for the streams that are not known to be busy, so that the end of the block's use is known."""
        if not self.live:
            return
        number = self.chance.choice(list(self.live))
        uses = self.live[number][1]
        if uses and self.capture is not None and self.chance.random() < 0.9:
            return
        if self.capture is None:
            self.note_idle("D")
        del self.live[number]
        self.log("f", number)
        if uses and (self.capture is not None or self.in_pool is not None):
            self.deferred = True
        if self.capture is None:
            for stream in uses - set(self.busy):
                self.streams[stream].synchronize()
                self.log("s", stream)

    def record_stream(self) -> None:
        if self.live:
            number, stream = self.chance.choice(list(self.live)), self.chance.randrange(STREAMS)
            if self.capture is not None and stream != self.capture[1]:
                return
            tensor, uses = self.live[number]
            tensor.record_stream(self.streams[stream])
            uses.add(stream)
            self.log("r", number, stream)

    def occupy(self) -> None:
        number = self.chance.randrange(1, STREAMS)
        if number in self.busy or self.capture is not None:
            return
        with self.torch.cuda.stream(self.streams[number]):
            self.torch.cuda._sleep(self.cycles)
            event = self.torch.cuda.Event()
            event.record()
        self.busy[number] = event
        self.log("b", number)

    def wait(self) -> None:
        if self.capture is not None:
            return
        if self.chance.random() < 0.3:
            self.synchronize()
            return
        number = self.chance.randrange(STREAMS)
        self.streams[number].synchronize()
        self.busy.pop(number, None)
        self.log("s", number)

    def synchronize(self) -> None:
        self.torch.cuda.synchronize()
        self.busy.clear()
        self.log("s", None)

    def empty(self) -> None:
        if self.capture is None:
            self.torch.cuda.empty_cache()
            self.log("e")
            self.note_idle("D")

    def limit(self) -> None:
        fraction = self.chance.choice((0.003, 0.005, 0.008, 1.0, 1.0))
        self.torch.cuda.set_per_process_memory_fraction(fraction)
        self.log("F", fraction)

    def make_pool(self) -> None:
        if self.capture is not None or self.in_pool is not None or len(self.made_pools) > 3:
            return
        on_oom, no_split = self.chance.random() < 0.4, self.chance.random() < 0.3
        number = self.counts["pool"]
        self.counts["pool"] += 1
        self.made_pools[number] = self.torch.cuda.MemPool(use_on_oom=on_oom, no_split=no_split)
        self.log("m", number, list(self.made_pools[number].id), on_oom, no_split)

    def switch_pool(self) -> None:
        if self.in_pool is not None:
            number, context = self.in_pool
            context.__exit__(None, None, None)
            self.in_pool = None
            self.log("P", number)
        elif self.made_pools and self.capture is None:
            number = self.chance.choice(list(self.made_pools))
            context = self.torch.cuda.use_mem_pool(self.made_pools[number])
            context.__enter__()
            self.in_pool = (number, context)
            self.log("p", number)

    def delete_pool(self) -> None:
        if self.made_pools and self.in_pool is None and self.capture is None:
            number = self.chance.choice(list(self.made_pools))
            del self.made_pools[number]
            self.log("x", number)

    def switch_capture(self) -> None:
        torch = self.torch
        if self.capture is not None:
            graph, stream, first = self.capture
            # What a capture allocated is freed in it, as a captured program does, or lives on as the graph's result.
            for number in [number for number in self.live if number >= first and not self.live[number][1]]:
                if self.chance.random() < 0.7:
                    del self.live[number]
                    self.log("f", number)
            with torch.cuda.stream(self.streams[stream]):
                self.made_graphs[graph].capture_end()
            self.capture = None
            self.log("G", graph)
        elif self.in_pool is None and len(self.made_graphs) < 4:
            self.synchronize()
            graph, stream = self.counts["graph"], self.chance.choice((1, 2))
            self.counts["graph"] += 1
            shared = self.chance.choice(list(self.made_graphs)) if self.made_graphs and self.chance.random() < 0.4 else None
            handle = torch.cuda.graph_pool_handle() if shared is None else self.made_graphs[shared].pool()
            self.log("h", graph, list(handle))
            self.made_graphs[graph] = torch.cuda.CUDAGraph()
            with torch.cuda.stream(self.streams[stream]):
                self.made_graphs[graph].capture_begin(pool=handle, capture_error_mode="relaxed")
                torch.cuda._sleep(1000)
            self.capture = (graph, stream, self.blocks)
            self.log("g", graph, stream)

    def replay(self) -> None:
        if self.made_graphs and self.capture is None:
            graph = self.chance.choice(list(self.made_graphs))
            self.made_graphs[graph].replay()
            self.log("y", graph)
            self.synchronize()

    def delete_graph(self) -> None:
        if self.made_graphs and self.capture is None:
            self.synchronize()
            self.drop_graph(self.chance.choice(list(self.made_graphs)))

    def drop_graph(self, number: int) -> None:
        self.made_graphs.pop(number).reset()
        self.log("z", number)

    # what is seen

    def check(self) -> None:
        check: dict[str, Any] = {"after": len(self.events), "statistics": dict(self.torch.cuda.memory_stats())}
        if self.native:
            check["segments"] = self.segments()
        else:
            check["free_and_total"] = list(self.torch.cuda.mem_get_info())
        self.checks.append(check)

    def segments(self) -> list[Any]:
        try:
            segments = self.torch.cuda.memory_snapshot(include_traces=False)
        except TypeError:
            segments = self.torch.cuda.memory_snapshot()
        return [
            [
                *(segment["address"], segment["total_size"], self.number(segment["stream"]), segment["segment_type"]),
                *(segment["is_expandable"], list(segment["segment_pool_id"])),
                [[block["address"], block["size"], block["requested_size"], block["state"]] for block in segment["blocks"]],
            ]
            for segment in segments
        ]

    def number(self, stream: int) -> int:
        return self.numbers.get(stream, stream)

    def trace(self) -> list[Any]:
        if not self.native:
            return []
        entries = self.torch.cuda.memory._snapshot()["device_traces"][0]
        return [
            [entry["action"], entry.get("addr", entry.get("device_free", -1)), entry["size"], self.number(entry["stream"])]
            for entry in entries
        ]


def fill(torch: Any) -> list[dict[str, Any]]:
    """Take all memory of the device in ever smaller pieces; free every second; ask for more than any piece had."""
    result: list[dict[str, Any]] = []
    held: list[Any] = []

    def note(what: str) -> None:
        result.append({"what": what, "free_and_total": list(torch.cuda.mem_get_info()), "statistics": dict(torch.cuda.memory_stats())})

    note("nothing")
    for size in (8192 * MIB, 1024 * MIB, 128 * MIB, 20 * MIB, 2 * MIB, 512 * 1024):
        count = 0
        text = ""
        while count < 4000 and not text:
            try:
                held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
                count += 1
            except torch.OutOfMemoryError as error:
                text = str(error)
        note(f"{count} of {size}: {text}")
    del held[1::2]
    note("every second freed")
    for size in (3072 * MIB, 12288 * MIB, 2 * MIB):
        try:
            held.append(torch.empty(size, dtype=torch.uint8, device="cuda"))
            note(f"one of {size}")
        except torch.OutOfMemoryError as error:
            text = str(error)
            note(f"none of {size}: {text}")
    held.clear()
    note("all freed")
    torch.cuda.empty_cache()
    note("emptied")
    return result


def run_part(part: Part, out: Path, seconds: float, events: int) -> None:
    """In a process of its own: run the program and write what was seen, whatever happens."""
    end = time.perf_counter() + seconds
    result: dict[str, Any] = {"setting": part.text, "kind": part.kind, "seed": part.seed}
    try:
        import torch

        gc.disable()
        torch.cuda.init()
        result["backend"] = torch.cuda.get_allocator_backend()
        result["total_bytes"] = torch.cuda.get_device_properties(0).total_memory
        if part.kind == "fill":
            result["fill"] = fill(torch)
        else:
            record(part, torch, result, end, events, out)
    except BaseException:
        result["error"] = traceback.format_exc()
    write(out, result)


def record(part: Part, torch: Any, result: dict[str, Any], end: float, events: int, out: Path) -> None:
    if "cudaMallocAsync" not in part.text:
        torch.cuda.memory._record_memory_history("all", context=None, stacks="python", max_entries=200_000)
    program = Program(part, torch)
    program.prepare()
    result["prepared"] = {"trace": program.trace(), "statistics": dict(torch.cuda.memory_stats()), "cycles": program.cycles}
    result |= {"events": program.events, "totals": program.totals, "checks": program.checks}
    begin = time.perf_counter()

    def save() -> None:
        result["trace"] = program.trace()
        write(out, result)

    try:
        program.run(events, end, check_every=60, save=save)
    except BaseException:
        program.events.append(["!", traceback.format_exc()])
    result["seconds"] = time.perf_counter() - begin
    result["trace"] = program.trace()


# -- all of them --------------------------------------------------------------------------------------------------------------------


def about_the_machine() -> dict[str, Any]:
    import torch

    result: dict[str, Any] = {"torch": torch.__version__, "cuda": torch.version.cuda}
    try:
        command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        result["nvidia_smi"] = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        result["nvidia_smi"] = repr(error)
    return result


def run_all(parts: Sequence[Part], out: Path, seconds: float, at_once: int, events: int) -> None:
    """Start the processes, so many at once, first those that matter most; write the file whenever 20 s have passed."""
    begin = written = time.perf_counter()
    content: dict[str, Any] = {"device": about_the_machine(), "spin_s": SPIN_S, "parts": []}
    waiting, running = list(parts), dict[subprocess.Popen[bytes], tuple[Part, Path, float]]()
    with tempfile.TemporaryDirectory() as folder:
        while waiting or running:
            left = seconds - (time.perf_counter() - begin)
            limit = at_once if not waiting or waiting[0].kind != "fill" else 1 - len(running)
            if any(part.kind == "fill" for part, _, _ in running.values()):
                limit = 0
            if waiting and len(running) < limit and left > 8:
                part = waiting.pop(0)
                path = Path(folder, f"{len(waiting)}.json")
                running[start(part, path, min(20.0, left - 6), events)] = (part, path, time.perf_counter() + min(45.0, left))
            elif left <= 8:
                content["left_out"] = [part.name for part in waiting]
                waiting.clear()
            collect(running, content)
            if time.perf_counter() - written > 20:
                write(out, content)
                written = time.perf_counter()
            time.sleep(0.05)
    content["seconds"] = time.perf_counter() - begin
    write(out, content)


def start(part: Part, path: Path, seconds: float, events: int) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if name != "PYTORCH_ALLOC_CONF"}
    environment["PYTORCH_CUDA_ALLOC_CONF"] = part.text
    if not part.text:
        del environment["PYTORCH_CUDA_ALLOC_CONF"]
    command = [sys.executable, __file__, "--out", str(path), "--seconds", str(seconds), "--events", str(events)]
    return subprocess.Popen([*command, "--part", json.dumps(part)], env=environment)


def collect(running: "dict[subprocess.Popen[bytes], tuple[Part, Path, float]]", content: dict[str, Any]) -> None:
    """Take what processes that ended have written; end those that take too long."""
    for process, (part, path, end) in list(running.items()):
        if process.poll() is None and time.perf_counter() < end:
            continue
        code = process.poll()
        if code is None:
            process.kill()
            process.wait()
        del running[process]
        found: dict[str, Any]
        try:
            found = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            found = {"setting": part.text, "kind": part.kind, "seed": part.seed, "error": f"exit {code}: {error!r}"}
        content["parts"].append(found)
        events = found.get("events", [])
        bad = found.get("error") or next((event[1] for event in events if event[0] == "!"), "")
        print(f"{part.name}: {len(events)} events {bad.strip().splitlines()[-1] if bad else ''}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Record what the caching allocator of a GPU does for random programs.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--events", type=int, default=2400, help="of each program")
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("--part", type=lambda text: Part(*json.loads(text)), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part is not None:
        run_part(arguments.part, arguments.out, arguments.seconds, arguments.events)
    else:
        run_all((*PARTS, *WHOLE_DEVICE), arguments.out, arguments.seconds, arguments.at_once, arguments.events)


if __name__ == "__main__":
    main()
