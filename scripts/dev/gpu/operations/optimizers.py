"""Optimizer steps, and what else works on lists of parameters: clipping, zeroing, foreach copies, FSDP's copies out and in."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from dev.gpu.operations.bench import Bench, Call, Item
from torch import Tensor, nn

LISTS: dict[str, list[tuple[int, tuple[int, ...]]]] = {
    # count of tensors, shape of each
    "llama 8b layer": [(2, (4096, 4096)), (2, (1024, 4096)), (3, (14336, 4096)), (2, (4096,))],
    "gpt2 124m": [
        (1, (50257, 768)),
        (1, (1024, 768)),
        (12, (2304, 768)),
        (12, (768, 768)),
        (24, (3072, 768)),
        (98, (768,)),
        (12, (2304,)),
        (12, (3072,)),
    ],
    "8b shard of 64": [(64, (64, 4096)), (64, (16, 4096)), (96, (224, 4096)), (65, (64,))],
    "100 of 16 KiB": [(100, (4096,))],
    "100 of 4 MiB": [(100, (1024, 1024))],
    "1000 of 4 KiB": [(1000, (1024,))],
    "1 of 1 GiB": [(1, (16384, 16384))],
    "10 of 64 MiB": [(10, (4096, 4096))],
}
"""Lists of parameters, sizes in float32."""

MODES: dict[str, dict[str, Any]] = {"foreach": {"foreach": True}, "fused": {"fused": True}, "for-loop": {"foreach": False}}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "AdamW": torch.optim.AdamW,
    "Adam": torch.optim.Adam,
    "SGD momentum": partial(torch.optim.SGD, lr=1e-3, momentum=0.9),
    "SGD": partial(torch.optim.SGD, lr=1e-3),
}


def items() -> Iterator[Item]:
    yield from _steps()
    yield from _lists()


def _steps() -> Iterator[Item]:
    for name in LISTS:
        for dtype in ("fp32", "bf16"):
            for mode in MODES:
                if mode != "for-loop" or (dtype == "fp32" and name in ("llama 8b layer", "gpt2 124m", "100 of 16 KiB")):
                    yield _item("AdamW", name, dtype, mode)
    for name in ("gpt2 124m", "llama 8b layer", "100 of 16 KiB"):
        for optimizer in ("Adam", "SGD momentum", "SGD"):
            for mode in ("foreach", "fused"):
                yield _item(optimizer, name, "fp32", mode)


def _lists() -> Iterator[Item]:
    for name in LISTS:
        for operation, build in LIST_OPERATIONS.items():
            yield Item(
                kind="tensor_list", name=operation, fields=_fields(name, "fp32"), measure=partial(_list_operation, name=name, build=build)
            )
    for world in (8, 64):
        for name in ("llama 8b layer", "gpt2 124m"):
            fields = {**_fields(name, "bf16"), "world_size": world}
            yield Item(kind="fsdp_copy", name="split_with_sizes_copy", fields=fields, measure=partial(_copy_out, name=name, world=world))
            yield Item(kind="fsdp_copy", name="copy in", fields=fields, measure=partial(_copy_in, name=name, world=world))


def _fields(name: str, dtype: str) -> dict[str, Any]:
    numel = sum(count * torch.Size(shape).numel() for count, shape in LISTS[name])
    return {"list": name, "tensors": sum(count for count, _ in LISTS[name]), "numel": numel, "dtype": dtype}


def _item(optimizer: str, name: str, dtype: str, mode: str) -> Item:
    measure = partial(_step, optimizer=optimizer, name=name, dtype=dtype, mode=mode)
    return Item(kind="optimizer", name=f"{optimizer} {mode}", fields=_fields(name, dtype), measure=measure)


def _parameters(bench: Bench, name: str, dtype: torch.dtype) -> list[nn.Parameter]:
    shapes = [[bench.size(dimension) for dimension in shape] for count, shape in LISTS[name] for _ in range(count)]
    parameters = [nn.Parameter(bench.random(*shape, dtype=dtype)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return parameters


def _step(bench: Bench, *, optimizer: str, name: str, dtype: str, mode: str) -> dict[str, Any]:
    """The step alone, on the device (`us_median`) and on the host, where it is not queued behind others."""
    kind = torch.float32 if dtype == "fp32" else torch.bfloat16
    made = OPTIMIZERS[optimizer](_parameters(bench, name, kind), **MODES[mode])
    return _both(bench, made.step)


def _both(bench: Bench, call: Call) -> dict[str, Any]:
    host = bench.host_time(call, n=3, batches=5)
    return {**bench.device_time([call], total_ms=15), "host": host}


Tensors = list[Tensor]
LIST_OPERATIONS: dict[str, Callable[[list[nn.Parameter], Tensors], Call]] = {
    "clip_grad_norm_ foreach": lambda p, _: partial(nn.utils.clip_grad_norm_, p, 1.0, foreach=True),
    "clip_grad_norm_ for-loop": lambda p, _: partial(nn.utils.clip_grad_norm_, p, 1.0, foreach=False),
    "foreach copy_ fp32 to bf16": lambda p, others: partial(torch._foreach_copy_, others, [x.detach() for x in p]),
    "foreach zero_": lambda p, _: partial(torch._foreach_zero_, [x.grad for x in p if x.grad is not None]),
    "foreach mul_": lambda p, _: partial(torch._foreach_mul_, [x.detach() for x in p], 1.0),
    "foreach norm": lambda p, _: partial(torch._foreach_norm, [x.detach() for x in p]),  # noqa: SLF001 - clipping calls it
    "zero_grad set to zero": lambda p, _: partial(torch.optim.SGD(p, lr=0.1).zero_grad, set_to_none=False),
}


def _list_operation(bench: Bench, *, name: str, build: Callable[[list[nn.Parameter], Tensors], Call]) -> dict[str, Any]:
    parameters = _parameters(bench, name, torch.float32)
    others = [parameter.detach().bfloat16() for parameter in parameters]
    return _both(bench, build(parameters, others))


def _flat_sizes(bench: Bench, name: str, world: int) -> list[int]:
    """Elements of each parameter's part on one of `world` ranks, padded."""
    shapes = [torch.Size(bench.size(dimension) for dimension in shape) for count, shape in LISTS[name] for _ in range(count)]
    return [-(-shape.numel() // world) for shape in shapes]


def _copy_out(bench: Bench, *, name: str, world: int) -> dict[str, Any]:
    """From the gathered buffer, rank by rank, into whole parameters, as FSDP2 does after its all-gather."""
    sizes = _flat_sizes(bench, name, world)
    gathered = bench.random(world, sum(sizes))
    outputs = [torch.empty(world, size, device=bench.device, dtype=gathered.dtype) for size in sizes]
    return _both(bench, partial(torch.split_with_sizes_copy, gathered, sizes, dim=1, out=outputs))


def _copy_in(bench: Bench, *, name: str, world: int) -> dict[str, Any]:
    """From fp32 shards into one bf16 buffer, as FSDP2 does before its all-gather with mixed precision."""
    sizes = _flat_sizes(bench, name, world)
    shards = [bench.random(size, dtype=torch.float32) for size in sizes]
    parts = list(bench.random(sum(sizes)).split(sizes))
    return _both(bench, partial(torch._foreach_copy_, parts, shards))
