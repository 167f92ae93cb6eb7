"""Collectives of a single rank (their copy), and how much a product and a copy on another stream slow each other."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from dev.gpu.operations.bench import Bench, Call, Item
from torch import Tensor

SIZES = [4 << 10, 1 << 20, 16 << 20, 256 << 20, 1 << 30]


def items() -> Iterator[Item]:
    for name, copy in BESIDE.items():
        for shape in ((8192, 8192, 8192), (8192, 768, 3072), (4096, 4096, 4096)):
            fields: dict[str, Any] = {"shape": shape, "dtype": "bf16", "beside": name}
            yield Item(kind="contention", name="mm beside a copy", fields=fields, measure=partial(_contention, shape=shape, copy=copy))
    for name, collective in COLLECTIVES.items():
        for size_bytes in SIZES:
            fields = {"size_bytes": size_bytes, "ranks": 1}
            yield Item(
                kind="collective", name=name, fields=fields, measure=partial(_collective, collective=collective, size_bytes=size_bytes)
            )


def _device_copy(bench: Bench) -> Call:
    source = bench.random(bench.size(1 << 28))
    return partial(torch.empty_like(source).copy_, source)


def _kernel_copy(bench: Bench) -> Call:
    """A kernel that uses the SMs: contiguous device copies may use the copy engine."""
    source = bench.random(bench.size(1 << 28))
    return partial(torch.mul, source, 2.0, out=torch.empty_like(source))


def _host_copy(bench: Bench) -> Call:
    source = bench.random(bench.size(1 << 26), dtype=torch.float32).cpu().pin_memory()
    return partial(torch.empty_like(source, device=bench.device).copy_, source, non_blocking=True)


BESIDE: dict[str, Callable[[Bench], Call]] = {
    "copy_ of 512 MiB": _device_copy,
    "mul of 512 MiB": _kernel_copy,
    "H2D of 256 MiB": _host_copy,
}


def _contention(bench: Bench, *, shape: tuple[int, int, int], copy: Callable[[Bench], Call]) -> dict[str, Any]:
    """Each alone, then both at once, for about the same time: microseconds per launch of each."""
    m, n, k = (bench.size(dimension) for dimension in shape)
    product = partial(torch.mm, bench.random(m, k), bench.random(n, k).t())
    other = copy(bench)
    alone = {"product": bench.device_time([product]), "copy": bench.device_time([other])}
    length_us = max(8 * alone["copy"]["us_median"], alone["product"]["us_median"], 5000)
    counts = [max(1, min(400, round(length_us / max(one["us_median"], 1)))) for one in alone.values()]
    together = [_together(bench, (product, other), counts) for _ in range(3)]
    medians = [round(statistics.median(run[index] for run in together), 2) for index in (0, 1)]
    return {"us_median": medians[0], "us_copy": medians[1], "runs": together, "counts": counts, "alone": alone}


def _together(bench: Bench, calls: tuple[Call, Call], counts: list[int]) -> list[float]:
    streams = (torch.cuda.Stream(), torch.cuda.Stream())
    events = [(bench.event(), bench.event()) for _ in calls]
    bench.synchronize()
    bench.hold_device(8000)
    for stream in streams:
        stream.wait_stream(torch.cuda.current_stream())
    for stream, call, count, (start, end) in zip(streams, calls, counts, events, strict=True):
        with torch.cuda.stream(stream):
            start.record()
            for _ in range(count):
                call()
            end.record()
    bench.synchronize()
    return [round(start.elapsed_time(end) * 1e3 / count, 2) for (start, end), count in zip(events, counts, strict=True)]


# -- collectives -----------------------------------------------------------------------------------------------------------------------


def _all_reduce(tensor: Tensor) -> Call:
    return partial(dist.all_reduce, tensor)


def _all_gather(tensor: Tensor) -> Call:
    return partial(dist.all_gather_into_tensor, torch.empty_like(tensor), tensor)


def _reduce_scatter(tensor: Tensor) -> Call:
    return partial(dist.reduce_scatter_tensor, torch.empty_like(tensor), tensor)


def _broadcast(tensor: Tensor) -> Call:
    return partial(dist.broadcast, tensor, 0)


COLLECTIVES = {"all_reduce": _all_reduce, "all_gather": _all_gather, "reduce_scatter": _reduce_scatter, "broadcast": _broadcast}


def _collective(bench: Bench, *, collective: Callable[[Tensor], Call], size_bytes: int) -> dict[str, Any]:
    if not dist.is_initialized():
        dist.init_process_group("nccl" if bench.on_gpu else "gloo", rank=0, world_size=1, store=dist.HashStore())  # type: ignore[attr-defined]
    call = collective(bench.random(bench.size(size_bytes // 2)))
    return {**bench.device_time([call], total_ms=10), "host": bench.host_time(call, n=5, batches=5)}
