"""Transformer blocks and whole small models: time by events, kernels by torch.profiler, time on the host, and the sustained case."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from dev.gpu.operations.bench import Bench, Call, Item
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile


class LlamaBlock(nn.Module):
    """RMSNorm, grouped-query attention with rotary embedding, SwiGLU; no biases."""

    def __init__(self, dim: int, heads: int, kv_heads: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = heads, kv_heads, dim // heads
        self.attention_norm, self.mlp_norm = nn.RMSNorm(dim, 1e-5), nn.RMSNorm(dim, 1e-5)
        self.wq, self.wo = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.wk, self.wv = (nn.Linear(dim, kv_heads * self.head_dim, bias=False) for _ in range(2))
        self.w1, self.w3 = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        x = x + self._attend(self.attention_norm(x), rotary)
        h = self.mlp_norm(x)
        y: Tensor = self.w2(F.silu(self.w1(h)) * self.w3(h))
        return x + y

    def _attend(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        batch, length, _ = x.shape
        q = _rotate(self.wq(x).view(batch, length, self.heads, -1), rotary).transpose(1, 2)
        k = _rotate(self.wk(x).view(batch, length, self.kv_heads, -1), rotary).transpose(1, 2)
        v = self.wv(x).view(batch, length, self.kv_heads, -1).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        out: Tensor = self.wo(y.transpose(1, 2).reshape(batch, length, -1))
        return out


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = rotary
    first, second = x.chunk(2, -1)
    return x * cosine + torch.cat((-second, first), -1) * sine


class Gpt2Block(nn.Module):
    """LayerNorm, attention with one projection for queries, keys and values, GELU; biases and dropout 0."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, rotary: Any = None) -> Tensor:
        batch, length, dim = x.shape
        q, k, v = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.ln_1(x)).split(dim, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(batch, length, dim))
        out: Tensor = x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))
        return out


class LanguageModel(nn.Module):
    def __init__(self, vocabulary: int, dim: int, blocks: list[nn.Module], norm: nn.Module) -> None:
        super().__init__()
        self.embedding, self.blocks, self.norm = nn.Embedding(vocabulary, dim), nn.ModuleList(blocks), norm
        self.head = nn.Linear(dim, vocabulary, bias=False)

    def forward(self, tokens: Tensor, targets: Tensor, rotary: Any = None) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, rotary)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1).float(), targets.flatten())


# -- programs: one training step's calls -------------------------------------------------------------------------------------------------

Program = Callable[[Bench, bool], Call]
"""From the bench and whether to compile, one forward and backward pass or one training step."""


def _rotary(bench: Bench, length: int, head_dim: int) -> tuple[Tensor, Tensor]:
    return bench.random(length, 1, head_dim), bench.random(length, 1, head_dim)


def _forward_and_backward(bench: Bench, block: nn.Module, x: Tensor, rotary: Any, compiled: bool, autocast: bool) -> Call:
    run: Any = torch.compile(block) if compiled else block
    gradient = torch.randn_like(x)

    def call() -> None:
        with torch.autocast(bench.device, torch.bfloat16) if autocast else nullcontext():
            y = run(x, rotary)
        y.backward(gradient)
        block.zero_grad()
        x.grad = None

    return call


def _llama_block(bench: Bench, compiled: bool, *, batch: int, length: int, dim: int, heads: int, kv_heads: int, hidden: int) -> Call:
    length, dim, hidden = bench.size(length), bench.size(dim), bench.size(hidden)
    heads, kv_heads = (heads, kv_heads) if bench.cap is None else (4, 2)
    with torch.device(bench.device):
        block = LlamaBlock(dim, heads, kv_heads, hidden).bfloat16()
    x = bench.random(batch, length, dim).requires_grad_()
    return _forward_and_backward(bench, block, x, _rotary(bench, length, dim // heads), compiled, autocast=False)


def _gpt2_block(bench: Bench, compiled: bool, *, batch: int, length: int, dim: int, heads: int) -> Call:
    length, dim = bench.size(length), bench.size(dim)
    heads = heads if bench.cap is None else 4
    with torch.device(bench.device):
        block = Gpt2Block(dim, heads)
    x = bench.random(bench.size(batch), length, dim, dtype=torch.float32).requires_grad_()
    return _forward_and_backward(bench, block, x, None, compiled, autocast=True)


def _training_step(
    bench: Bench, model: nn.Module, vocabulary: int, size: tuple[int, int], rotary: Any, compiled: bool, autocast: bool
) -> Call:
    """Forward, loss, backward, clipping, fused AdamW, no reading of the loss."""
    run: Any = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens, targets = (torch.randint(vocabulary, size, device=bench.device) for _ in range(2))

    def call() -> None:
        with torch.autocast(bench.device, torch.bfloat16) if autocast else nullcontext():
            loss = run(tokens, targets, rotary)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return call


def _gpt2_step(bench: Bench, compiled: bool, *, batch: int, vocabulary: int) -> Call:
    dim, length, heads = (768, 1024, 12) if bench.cap is None else (bench.size(768), bench.size(1024), 4)
    vocabulary = bench.size(vocabulary)
    with torch.device(bench.device):
        model = LanguageModel(vocabulary, dim, [Gpt2Block(dim, heads) for _ in range(12)], nn.LayerNorm(dim))
    return _training_step(bench, model, vocabulary, (batch, length), None, compiled, autocast=True)


def _llama_step(
    bench: Bench, compiled: bool, *, batch: int, length: int, layers: int, dim: int, heads: int, kv_heads: int, hidden: int
) -> Call:
    heads, kv_heads = (heads, kv_heads) if bench.cap is None else (4, 2)
    length, dim, hidden, vocabulary = (bench.size(number) for number in (length, dim, hidden, 128256))
    with torch.device(bench.device):
        model = LanguageModel(vocabulary, dim, [LlamaBlock(dim, heads, kv_heads, hidden) for _ in range(layers)], nn.RMSNorm(dim, 1e-5))
    rotary = _rotary(bench, length, dim // heads)
    return _training_step(bench, model.bfloat16(), vocabulary, (batch, length), rotary, compiled, autocast=False)


PROGRAMS: dict[str, tuple[Program, dict[str, Any]]] = {}


def _declare(name: str, build: Callable[..., Call], **sizes: Any) -> None:
    PROGRAMS[name] = partial(build, **sizes), sizes


_declare("llama block", _llama_block, batch=1, length=8192, dim=4096, heads=32, kv_heads=8, hidden=14336)
_declare("gpt2 block", _gpt2_block, batch=8, length=1024, dim=768, heads=12)
_declare("gpt2 124m step", _gpt2_step, batch=8, vocabulary=50304)
_declare("llama 1b step", _llama_step, batch=1, length=8192, layers=16, dim=2048, heads=32, kv_heads=8, hidden=8192)
_declare("llama block, 2 x 4096", _llama_block, batch=2, length=4096, dim=4096, heads=32, kv_heads=8, hidden=14336)
_declare("gpt2 124m step, vocabulary 50257", _gpt2_step, batch=8, vocabulary=50257)
_declare("llama block of 70b, 1 x 4096", _llama_block, batch=1, length=4096, dim=8192, heads=64, kv_heads=8, hidden=28672)
_declare("gpt2 block, batch 1", _gpt2_block, batch=1, length=1024, dim=768, heads=12)

COMPILED = list(PROGRAMS)[:4]


def items(compiled: bool = False) -> Iterator[Item]:
    for name in COMPILED if compiled else PROGRAMS:
        measure = partial(_measure, program=PROGRAMS[name][0], compiled=compiled)
        yield Item(kind="block", name=name, fields={**PROGRAMS[name][1], "compiled": compiled}, measure=measure)


def _measure(bench: Bench, *, program: Program, compiled: bool) -> dict[str, Any]:
    began = time.perf_counter()
    call = program(bench, compiled)
    for _ in range(3):
        call()
    bench.synchronize()
    warm_up_s = round(time.perf_counter() - began, 2)
    host = bench.host_time(call, n=1, batches=7)
    timed = bench.device_time([call], total_ms=120)
    kernels = profiled(bench, call)
    return {**timed, "warm_up_s": warm_up_s, "host": host, **kernels, "sustained": bench.sustained([call], seconds=0.7, chunk_ms=25)}


# -- kernels ------------------------------------------------------------------------------------------------------------------------------


def profiled(bench: Bench, call: Call) -> dict[str, Any]:
    """Kernels of one call: by operator and shapes, and in the order of the device with their start.

    `kernels` are rows of operator, shapes of its inputs, kernel, count and microseconds in total; `timeline` of kernel (an index into
    `names`), start and duration in microseconds and stream.
    """
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if bench.on_gpu else [])
    with profile(activities=activities, record_shapes=True) as run:
        call()
        bench.synchronize()
    events = run.events() or []
    rows: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for event in events:
        for kernel in event.kernels:
            rows[event.name, str(event.input_shapes), kernel.name[:160]].append(kernel.duration)
    on_device = sorted(
        (event for event in events if "CUDA" in str(event.device_type) and not event.is_user_annotation),
        key=lambda event: event.time_range.start,
    )
    names = sorted({event.name[:160] for event in on_device})
    origin = on_device[0].time_range.start if on_device else 0
    timeline = [
        [
            names.index(event.name[:160]),
            round(event.time_range.start - origin, 2),
            round(event.time_range.elapsed_us(), 2),
            event.device_resource_id,
        ]
        for event in on_device
    ]
    table = [[*key, len(times), round(sum(times), 2)] for key, times in rows.items()]
    return {"kernels": table, "names": names, "timeline": timeline}
