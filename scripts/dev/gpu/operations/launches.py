"""What the host pays for an operation, what lies between kernels on the device, and what synchronizing and copying cost."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from dev.gpu.operations.bench import Bench, Call, Item
from torch import Tensor, nn

COPY_SIZES = [4, 1 << 10, 16 << 10, 256 << 10, 4 << 20, 64 << 20, 256 << 20, 1 << 30]


def items() -> Iterator[Item]:
    for name, build in HOST_CALLS.items():
        yield Item(kind="host", name=name, measure=partial(_host, build=build))
    for name in ("add chain", "linear chain", "norm chain"):
        yield Item(kind="host_backward", name=name, measure=partial(_backward_chain, name=name))
    for name, wait in SYNCHRONIZATIONS.items():
        yield Item(kind="synchronization", name=name, measure=partial(_round_trip, wait=wait))
    for count in (1, 10, 100, 1000):
        yield Item(kind="graph_replay", name="add_ of 4 KiB", fields={"nodes": count}, measure=partial(_graph, count=count, n=1024))
    yield Item(kind="graph_replay", name="add_ of 4 MiB", fields={"nodes": 100}, measure=partial(_graph, count=100, n=1 << 20))
    for n in (1, 1024, 65536, 262144, 1 << 20):
        yield Item(kind="back_to_back", name="add_ fp32", fields={"size_bytes": 4 * n}, measure=partial(_back_to_back, n=n))
    yield Item(kind="back_to_back", name="event pairs around add_", fields={"size_bytes": 4096}, measure=_event_pairs)
    yield Item(kind="back_to_back", name="event pairs around nothing", measure=_empty_event_pairs)
    yield Item(kind="back_to_back", name="between two streams", fields={"size_bytes": 4096}, measure=_ping_pong)
    for name, direction in COPIES.items():
        for size_bytes in COPY_SIZES:
            yield Item(
                kind="host_copy",
                name=name,
                fields={"size_bytes": size_bytes},
                measure=partial(_copy, build=direction, size_bytes=size_bytes),
            )


# -- time on the host per call ---------------------------------------------------------------------------------------------------------


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def _small(bench: Bench, grad: bool = False) -> Tensor:
    return bench.random(64, 64).requires_grad_(grad)


def _on_small(function: Callable[[Tensor], Any], grad: bool = False) -> Callable[[Bench], Call]:
    return lambda bench: partial(function, _small(bench, grad))


def _module(make: Callable[[], nn.Module], grad: bool = True) -> Callable[[Bench], Call]:
    return lambda bench: partial(make().to(bench.device, torch.bfloat16), _small(bench, grad))


def _with_autocast(bench: Bench) -> Call:
    layer, x = nn.Linear(64, 64).to(bench.device), _small(bench).float()

    def call() -> None:
        with torch.autocast(bench.device, torch.bfloat16):
            layer(x)

    return call


def _autocast_many(bench: Bench) -> Call:
    layer, x = nn.Linear(64, 64).to(bench.device), _small(bench).float()

    def call() -> None:
        with torch.autocast(bench.device, torch.bfloat16):
            for _ in range(10):
                layer(x)

    return call


def _record(bench: Bench) -> Call:
    return torch.cuda.Event().record if bench.on_gpu else Plain


def _new_event(bench: Bench) -> Call:
    return lambda: torch.cuda.Event().record()


def _wait_event(bench: Bench) -> Call:
    event, stream = torch.cuda.Event(), torch.cuda.Stream()
    event.record()
    return partial(stream.wait_event, event)


def _wait_stream(bench: Bench) -> Call:
    return partial(torch.cuda.Stream().wait_stream, torch.cuda.current_stream())


def _switch_stream(bench: Bench) -> Call:
    stream = torch.cuda.Stream()

    def call() -> None:
        with torch.cuda.stream(stream):
            pass

    return call


def _record_stream(bench: Bench) -> Call:
    return partial(_small(bench).record_stream, torch.cuda.Stream())


def _attention(grad: bool) -> Callable[[Bench], Call]:
    def build(bench: Bench) -> Call:
        q = bench.random(1, 4, 128, 64).requires_grad_(grad)
        return partial(F.scaled_dot_product_attention, q, q, q, is_causal=True)

    return build


HOST_CALLS: dict[str, Callable[[Bench], Call]] = {
    "add": _on_small(lambda x: x + x),
    "add, autograd": _on_small(lambda x: x + x, True),
    "add_": _on_small(lambda x: x.add_(1)),
    "mul by number": _on_small(lambda x: x * 2.0),
    "mul by number, autograd": _on_small(lambda x: x * 2.0, True),
    "cast": _on_small(lambda x: x.float()),
    "cast, autograd": _on_small(lambda x: x.float(), True),
    "mm": _on_small(lambda x: x @ x),
    "mm, autograd": _on_small(lambda x: x @ x, True),
    "linear, autograd": _on_small(lambda x: F.linear(x, x), True),
    "gelu, autograd": _on_small(F.gelu, True),
    "silu and mul, autograd": _on_small(lambda x: F.silu(x) * x, True),
    "softmax, autograd": _on_small(lambda x: x.softmax(-1), True),
    "layer_norm, autograd": _on_small(lambda x: F.layer_norm(x, (64,), x[0], x[0]), True),
    "rms_norm, autograd": _on_small(lambda x: F.rms_norm(x, (64,), x[0]), True),
    "attention": _attention(False),
    "attention, autograd": _attention(True),
    "dropout, autograd": _on_small(lambda x: F.dropout(x, 0.1), True),
    "cat, autograd": _on_small(lambda x: torch.cat((x, x)), True),
    "sum": _on_small(torch.sum),
    "zeros": lambda bench: partial(torch.zeros, 64, 64, device=bench.device),
    "empty": lambda bench: partial(torch.empty, 64, 64, device=bench.device),
    "view": _on_small(lambda x: x.view(-1)),
    "view, autograd": _on_small(lambda x: x.view(-1), True),
    "transpose": _on_small(lambda x: x.t()),
    "transpose, autograd": _on_small(lambda x: x.t(), True),
    "split in 4": _on_small(lambda x: x.split(16)),
    "slice": _on_small(lambda x: x[:32]),
    "detach": _on_small(lambda x: x.detach()),
    "contiguous that copies": _on_small(lambda x: x.t().contiguous()),
    "module that does nothing": lambda bench: partial(Plain(), _small(bench)),
    "nn.Identity": _module(nn.Identity),
    "nn.Linear": _module(lambda: nn.Linear(64, 64)),
    "nn.Linear no bias": _module(lambda: nn.Linear(64, 64, bias=False)),
    "nn.LayerNorm": _module(lambda: nn.LayerNorm(64)),
    "nn.RMSNorm": _module(lambda: nn.RMSNorm(64)),
    "nn.GELU": _module(nn.GELU),
    "nn.Dropout": _module(lambda: nn.Dropout(0.1)),
    "nn.Sequential of 10 Linear": _module(lambda: nn.Sequential(*(nn.Linear(64, 64) for _ in range(10)))),
    "nn.Linear fp32 in its own autocast": _with_autocast,
    "10 nn.Linear fp32 in one autocast": _autocast_many,
    "event record": _record,
    "event made and recorded": _new_event,
    "stream wait_event": _wait_event,
    "stream wait_stream": _wait_stream,
    "stream switched to and back": _switch_stream,
    "record_stream": _record_stream,
    "current_stream": lambda bench: torch.cuda.current_stream,
}


def _host(bench: Bench, *, build: Callable[[Bench], Call]) -> dict[str, Any]:
    return bench.host_time(build(bench), n=50)


CHAINS: dict[str, Callable[[Bench], Callable[[Tensor], Tensor]]] = {
    "add chain": lambda bench: lambda x: x + 1.0,
    "linear chain": lambda bench: nn.Linear(64, 64, bias=False, device=bench.device, dtype=torch.bfloat16),
    "norm chain": lambda bench: nn.RMSNorm(64, device=bench.device, dtype=torch.bfloat16),
}


def _backward_chain(bench: Bench, *, name: str, length: int = 50) -> dict[str, Any]:
    """Host time per node of a backward pass through a chain, leaves' gradients accumulated; forward beside it."""
    steps = [CHAINS[name](bench) for _ in range(length)]
    x = _small(bench, True)

    def forward() -> Tensor:
        y = x
        for step in steps:
            y = step(y)
        return y

    forwards = bench.host_time(forward, n=2, per_call=length)
    gradient = _small(bench)
    times = []
    for _ in range(9):
        out = forward()
        bench.synchronize()
        started = time.perf_counter()
        out.backward(gradient)
        times.append((time.perf_counter() - started) * 1e6 / length)
        bench.synchronize()
    return {"us_median": round(statistics.median(times[2:]), 3), "us_min": round(min(times), 3), "n": length, "forward": forwards}


# -- synchronizing ---------------------------------------------------------------------------------------------------------------------

SYNCHRONIZATIONS: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda x: x.item(),
    "cpu": lambda x: x.cpu(),
    "bool": bool,
    "synchronize": lambda x: torch.cuda.synchronize(),
    "stream synchronize": lambda x: torch.cuda.current_stream().synchronize(),
    "nonzero": lambda x: x.nonzero(),
    "clip_grad_norm error check": lambda x: torch.isfinite(x).all().item(),
}


def _round_trip(bench: Bench, *, wait: Callable[[Tensor], Any]) -> dict[str, Any]:
    """Host time with an idle device, and after a kernel of about 200 us: the rest beyond the kernel is the cost."""
    value = bench.random(1, dtype=torch.float32)
    idle = bench.host_time(partial(wait, value), n=20)
    times, holds = [], []
    for _ in range(15):
        bench.synchronize()
        start, end = bench.event(), bench.event()
        began = time.perf_counter()
        start.record()
        bench.hold_device(200)
        end.record()
        wait(value)
        times.append((time.perf_counter() - began) * 1e6)
        bench.synchronize()
        holds.append(start.elapsed_time(end) * 1e3)
    busy = {"us_behind_kernel": round(statistics.median(times[3:]), 2), "us_kernel": round(statistics.median(holds[3:]), 2)}
    return {**idle, **busy}


# -- on the device: gaps, graphs, streams --------------------------------------------------------------------------------------------------


def _back_to_back(bench: Bench, *, n: int) -> dict[str, Any]:
    return bench.device_time([partial(bench.random(bench.size(n), dtype=torch.float32).add_, 1.0)])


def _event_pairs(bench: Bench) -> dict[str, Any]:
    return _paired(bench, partial(bench.random(1024, dtype=torch.float32).add_, 1.0))


def _empty_event_pairs(bench: Bench) -> dict[str, Any]:
    return _paired(bench, lambda: None)


def _paired(bench: Bench, call: Call) -> dict[str, Any]:
    """Time between events around each single call, the host ahead: what a profiler by events would see."""
    pairs = [(bench.event(), bench.event()) for _ in range(60)]
    call()
    bench.hold_device(2000)
    for start, end in pairs:
        start.record()
        call()
        end.record()
    bench.synchronize()
    times = [start.elapsed_time(end) * 1e3 for start, end in pairs]
    return {"us_median": round(statistics.median(times), 2), "us_min": round(min(times), 2), "n": len(times)}


def _ping_pong(bench: Bench) -> dict[str, Any]:
    """A kernel in turn on two streams, each waiting for the other's event: time per kernel with its wait."""
    streams = [torch.cuda.Stream(), torch.cuda.Stream()]
    x = bench.random(1024, dtype=torch.float32)

    def call() -> None:
        for here, there in (streams, streams[::-1]):
            with torch.cuda.stream(here):
                x.add_(1.0)
            there.wait_stream(here)
        torch.cuda.current_stream().wait_stream(streams[0])
        streams[0].wait_stream(torch.cuda.current_stream())

    measured = bench.device_time([call])
    return {**measured, "kernels_per_call": 2, "waits_per_call": 4}


def _graph(bench: Bench, *, count: int, n: int) -> dict[str, Any]:
    """Replays of a captured chain: per replay on the device and on the host; and the same chain launched one by one."""
    x = bench.random(n, dtype=torch.float32)

    def chain() -> None:
        for _ in range(count):
            x.add_(1.0)

    eager = bench.device_time([chain], total_ms=5)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        chain()
    return {**bench.device_time([graph.replay], total_ms=5), "host": bench.host_time(graph.replay, n=10), "eager": eager}


# -- copies between host and device ------------------------------------------------------------------------------------------------------


def _host_tensor(size_bytes: int, pinned: bool) -> Tensor:
    """Random bytes, of which one MiB is drawn: the host draws slowly."""
    drawn = torch.randint(255, (min(size_bytes, 1 << 20),), dtype=torch.uint8)
    return torch.empty(size_bytes, dtype=torch.uint8, pin_memory=pinned).copy_(drawn.repeat(-(-size_bytes // len(drawn)))[:size_bytes])


def _copies(to_device: bool, pinned: bool) -> Callable[[Bench, int], Call]:
    def build(bench: Bench, size_bytes: int) -> Call:
        on_host = _host_tensor(size_bytes, pinned)
        on_device = torch.randint(255, (size_bytes,), dtype=torch.uint8, device=bench.device)
        target, source = (on_device, on_host) if to_device else (on_host, on_device)
        return partial(target.copy_, source, non_blocking=pinned)

    return build


COPIES: dict[str, Callable[[Bench, int], Call]] = {
    "H2D pinned": _copies(True, True),
    "D2H pinned": _copies(False, True),
    "H2D pageable": _copies(True, False),
    "D2H pageable": _copies(False, False),
}


def _copy(bench: Bench, *, build: Callable[[Bench, int], Call], size_bytes: int) -> dict[str, Any]:
    call = build(bench, bench.size(size_bytes))
    call()
    bench.synchronize()
    host = bench.host_time(call, n=1 if size_bytes > 1 << 24 else 10, batches=5)
    return {**bench.device_time([call], total_ms=10, batches=3), "host": host}
