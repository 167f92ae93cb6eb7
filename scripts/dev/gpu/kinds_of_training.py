"""Trains a transformer in one of many kinds, for measurements of memory: each kind allocates in a way of its own.

torchrun --nproc-per-node 4 scripts/dev/gpu/kinds_of_training.py --kind fsdp2                # a laptop, over gloo
fakerun scripts/dev/gpu/kinds_of_training.py --world-size 4 -- --kind fsdp2 --model medium   # one GPU per rank, over NCCL

`KINDS` names them with the number of ranks that each needs; `train` runs one in this process, and joins and leaves the process group if the
kind has one. Nothing that a collective returns steers a program, so each also runs over a process group that moves no data.
"""

import argparse
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._composable.replicate import replicate
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FullyShardedDataParallel, MixedPrecisionPolicy, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.distributed.pipelining import PipelineStage, schedules
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.experimental import context_parallel
from torch.distributed.tensor.parallel import ColwiseParallel, PrepareModuleInput, RowwiseParallel, SequenceParallel, parallelize_module
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model and its batch per rank. The inner dimension of the feed-forward is 4 x dim."""

    dim: int
    layers: int
    heads: int
    vocab: int
    batch: int
    sequence: int


SIZES = {
    "tiny": Size(dim=128, layers=2, heads=4, vocab=1024, batch=8, sequence=64),
    "small": Size(dim=128, layers=8, heads=4, vocab=1024, batch=8, sequence=64),
    "medium": Size(dim=1024, layers=12, heads=16, vocab=32_000, batch=8, sequence=512),
}
"""`small` takes about two seconds on a CPU, `tiny` less, but it has too few layers for pipelines; `medium`, for a GPU, has 0.22e9
parameters and 4,096 tokens."""


# -- the model ----------------------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.head_dim = size.dim // size.heads
        self.q, self.k, self.v, self.out = (nn.Linear(size.dim, size.dim) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in (self.q, self.k, self.v))
        attended: Tensor = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        projected: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return projected


class FeedForward(nn.Module):
    def __init__(self, size: Size) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(size.dim, 4 * size.dim), nn.Linear(4 * size.dim, size.dim)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down(functional.gelu(self.up(x)))
        return result


class Block(nn.Module):
    def __init__(self, size: Size, feed_forward: Callable[[Size], nn.Module] = FeedForward) -> None:
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(size.dim), Attention(size)
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(size.dim), feed_forward(size)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        result: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return result


class Transformer(nn.Module):
    """A causal language model, or with `first` and `last` a part of its layers: then without the embedding or the head of the others."""

    def __init__(
        self,
        size: Size,
        *,
        feed_forward: Callable[[Size], nn.Module] = FeedForward,
        run_block: Callable[[nn.Module, Tensor], Tensor] = lambda block, x: block(x),
        layers: int | None = None,
        first: bool = True,
        last: bool = True,
    ) -> None:
        super().__init__()
        self.run_block = run_block
        self.embedding = nn.Embedding(size.vocab, size.dim) if first else nn.Identity()
        self.blocks = nn.ModuleList(Block(size, feed_forward) for _ in range(size.layers if layers is None else layers))
        self.norm = nn.LayerNorm(size.dim) if last else nn.Identity()
        self.head = nn.Linear(size.dim, size.vocab, bias=False) if last else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        for block in self.blocks:
            x = self.run_block(block, x)
        logits: Tensor = self.head(self.norm(x))
        return logits


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten())


def initialize(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()  # type: ignore[operator]


# -- a run --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Run:
    size: Size
    steps: int
    device: torch.device

    def model(self, **options: Any) -> Transformer:
        """The model on the device."""
        with self.device:
            return Transformer(self.size, **options)

    def model_without_memory(self) -> Transformer:
        with torch.device("meta"):
            return Transformer(self.size)

    def materialize(self, model: nn.Module) -> None:
        model.to_empty(device=self.device)
        initialize(model)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Tokens and the tokens that follow them, on the device."""
        tokens = torch.randint(self.size.vocab, (self.size.batch, self.size.sequence + 1))
        return tokens[:, :-1].contiguous().to(self.device), tokens[:, 1:].contiguous().to(self.device)

    def mesh(self, *names: str) -> DeviceMesh:
        """The ranks of the job as a mesh: in one dimension, or in two of which the second has two ranks."""
        ranks = dist.get_world_size()
        return init_device_mesh(self.device.type, (ranks,) if len(names) == 1 else (ranks // 2, 2), mesh_dim_names=names)


Optimizer = Callable[..., torch.optim.Optimizer]

ADAMW: Optimizer = partial(torch.optim.AdamW, lr=1e-4, foreach=True)
"""`foreach` is the default on a GPU only, so it is said."""


def forward_backward(run: Run, model: nn.Module) -> None:
    tokens, labels = run.batch()
    loss_of(model(tokens), labels).backward()


def train_steps(run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, step: Callable[[], None], *, clip: bool = True) -> None:
    """`step` computes gradients; the rest is the same for most kinds."""
    for _ in range(run.steps):
        step()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad()


def train_model(run: Run, model: nn.Module, optimizer: Optimizer = ADAMW, *, clip: bool = True) -> None:
    train_steps(run, model, optimizer(model.parameters()), partial(forward_backward, run, model), clip=clip)


# -- sharded and replicated data parallelism ----------------------------------------------------------------------------------------


def shard(model: Transformer, **options: Any) -> Transformer:
    for block in model.blocks:
        fully_shard(block, **options)
    fully_shard(model, **options)
    return model


def fsdp2(run: Run, *, axes: tuple[str, ...] = ("dp",), optimizer: Optimizer = ADAMW, **options: Any) -> None:
    model = shard(run.model_without_memory(), mesh=run.mesh(*axes), **options)
    run.materialize(model)
    train_model(run, model, optimizer)


def fsdp2_cpu_offload(run: Run) -> None:
    model = shard(run.model_without_memory(), mesh=run.mesh("dp"), offload_policy=CPUOffloadPolicy(pin_memory=run.device.type == "cuda"))
    model.to_empty(device="cpu")
    initialize(model)
    train_model(run, model, clip=False)


def fsdp2_gradient_accumulation(run: Run, *, microbatches: int = 4) -> None:
    """Gradients are reduced with the last microbatch, and whole until then."""
    model = shard(run.model_without_memory(), mesh=run.mesh("dp"))
    run.materialize(model)

    def step() -> None:
        tokens, labels = run.batch()
        for index, (some, their) in enumerate(zip(tokens.chunk(microbatches), labels.chunk(microbatches), strict=True)):
            model.set_requires_gradient_sync(index == microbatches - 1)  # type: ignore[operator]
            (loss_of(model(some), their) / microbatches).backward()

    train_steps(run, model, ADAMW(model.parameters()), step)


def fsdp1(run: Run, **options: Any) -> None:
    policy = ModuleWrapPolicy({Block})
    model = FullyShardedDataParallel(run.model(), auto_wrap_policy=policy, device_id=run.device, use_orig_params=True, **options)
    optimizer = ADAMW(model.parameters())
    for _ in range(run.steps):
        forward_backward(run, model)
        model.clip_grad_norm_(1.0)
        optimizer.step()
        optimizer.zero_grad()


def ddp(run: Run, *, optimizer: Optimizer = ADAMW, **options: Any) -> None:
    train_model(run, DistributedDataParallel(run.model(), **options), optimizer)


def ddp_no_sync(run: Run, *, microbatches: int = 4) -> None:
    model = DistributedDataParallel(run.model())

    def step() -> None:
        tokens, labels = run.batch()
        for index, (some, their) in enumerate(zip(tokens.chunk(microbatches), labels.chunk(microbatches), strict=True)):
            with model.no_sync() if index < microbatches - 1 else nullcontext():
                (loss_of(model(some), their) / microbatches).backward()

    train_steps(run, model, ADAMW(model.parameters()), step)


def ddp_comm_hook_bf16(run: Run) -> None:
    model = DistributedDataParallel(run.model())
    model.register_comm_hook(None, compress)
    train_model(run, model)


def compress(state: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """Call torch's hook, which DDP refuses by its name where there is no NCCL."""
    return bf16_compress_hook(state, bucket)


def ddp_replicate(run: Run) -> None:
    """DDP's composable form."""
    model = run.model()
    replicate(model)
    train_model(run, model)


def zero_redundancy_optimizer(run: Run) -> None:
    model = DistributedDataParallel(run.model())
    optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, lr=1e-4, foreach=True)
    train_steps(run, model, optimizer, partial(forward_backward, run, model))


# -- tensor, sequence and context parallelism ---------------------------------------------------------------------------------------


def split_matrices(model: Transformer, mesh: DeviceMesh) -> None:
    """The first of a pair by columns, the second by rows; activations between the pairs are whole."""
    columns = dict.fromkeys(("attention.q", "attention.k", "attention.v", "feed_forward.up"), ColwiseParallel())
    rows = dict.fromkeys(("attention.out", "feed_forward.down"), RowwiseParallel())
    for block in model.blocks:
        parallelize_module(block, mesh, {**columns, **rows})
    root_plan = {"embedding": RowwiseParallel(input_layouts=Replicate()), "head": ColwiseParallel(output_layouts=Replicate())}
    parallelize_module(model, mesh, root_plan)


def split_matrices_and_sequence(model: Transformer, mesh: DeviceMesh) -> None:
    """The same, and activations between the pairs are split along the sequence."""
    sequence, whole = Shard(1), Replicate()
    gather = PrepareModuleInput(input_layouts=(sequence,), desired_input_layouts=(whole,))
    block_plan = {
        "attention_norm": SequenceParallel(),
        "attention": gather,
        "attention.q": ColwiseParallel(),
        "attention.k": ColwiseParallel(),
        "attention.v": ColwiseParallel(),
        "attention.out": RowwiseParallel(output_layouts=sequence),
        "feed_forward_norm": SequenceParallel(),
        "feed_forward": gather,
        "feed_forward.up": ColwiseParallel(),
        "feed_forward.down": RowwiseParallel(output_layouts=sequence),
    }
    root_plan = {
        "embedding": RowwiseParallel(input_layouts=whole, output_layouts=sequence),
        "norm": SequenceParallel(),
        "head": ColwiseParallel(input_layouts=sequence, output_layouts=whole),
    }
    for block in model.blocks:
        parallelize_module(block, mesh, block_plan)
    parallelize_module(model, mesh, root_plan)


def tensor_parallel(
    run: Run,
    split: Callable[[Transformer, DeviceMesh], None],
    *,
    sharded: bool = False,
    optimizer: Optimizer = ADAMW,
    clip: bool = True,
) -> None:
    """Where only some parameters are DTensors, neither one norm of all gradients nor a `foreach` optimizer works (torch 2.13)."""
    mesh = run.mesh("dp", "tp") if sharded else run.mesh("tp")
    model = run.model_without_memory()
    split(model, mesh["tp"])
    if sharded:
        shard(model, mesh=mesh["dp"])
    run.materialize(model)
    train_model(run, model, optimizer, clip=clip)


def context_parallelism(run: Run) -> None:
    """Ring attention, which needs a half type and a GPU; the parameters are replicated and their gradients summed."""
    mesh = run.mesh("cp")
    model = run.model().bfloat16()

    def step() -> None:
        tokens, labels = run.batch()
        with context_parallel(mesh, buffers=[tokens, labels], buffer_seq_dims=[1, 1], no_restore_buffers={tokens, labels}):
            loss_of(model(tokens), labels).backward()
        reduce_gradients(model.parameters())

    train_steps(run, model, ADAMW(model.parameters()), step)


def reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)


# -- pipelines ----------------------------------------------------------------------------------------------------------------------


def pipeline(run: Run, schedule: str, *, stages_each: int = 1, v_shaped: bool = False, microbatches: int = 8) -> None:
    """Shapes are given, so that stages need not ask each other for them."""
    ranks, rank = dist.get_world_size(), dist.get_rank()
    count = ranks * stages_each
    mine = [rank, count - 1 - rank] if v_shaped else list(range(rank, count, ranks))
    modules = [run.model(layers=run.size.layers // count, first=index == 0, last=index == count - 1) for index in mine]
    stages = [pipeline_stage(run, module, index, count, microbatches) for module, index in zip(modules, mine, strict=True)]
    scheduled = getattr(schedules, schedule)(stages if stages_each > 1 else stages[0], microbatches, loss_fn=loss_of)

    def step() -> None:
        tokens, labels = run.batch()
        scheduled.step(*([tokens] if 0 in mine else []), target=labels if count - 1 in mine else None, return_outputs=False)

    model = nn.ModuleList(modules)
    train_steps(run, model, ADAMW(model.parameters()), step)


def pipeline_stage(run: Run, module: nn.Module, index: int, count: int, microbatches: int) -> PipelineStage:
    rows = (run.size.batch // microbatches, run.size.sequence)
    tokens = torch.empty(rows, dtype=torch.int64, device="meta")
    hidden = torch.empty(*rows, run.size.dim, device="meta", requires_grad=True)
    logits = torch.empty(*rows, run.size.vocab, device="meta", requires_grad=True)
    inputs, outputs = (hidden if index else tokens), (logits if index == count - 1 else hidden)
    return PipelineStage(module, index, count, run.device, input_args=(inputs,), output_args=(outputs,), group=dist.group.WORLD)


# -- expert parallelism -------------------------------------------------------------------------------------------------------------

EXPERTS_EACH = 2


class Exchange(torch.autograd.Function):
    """all_to_all_single of rows, and its gradient the other way."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
        ctx.sent, ctx.received = sent, received
        result = rows.new_empty(sum(received), *rows.shape[1:])
        dist.all_to_all_single(result, rows.contiguous(), received, sent)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        result = gradient.new_empty(sum(ctx.sent), *gradient.shape[1:])
        dist.all_to_all_single(result, gradient.contiguous(), ctx.sent, ctx.received)
        return result, None, None


def exchange(rows: Tensor, sent: list[int], received: list[int]) -> Tensor:
    result: Tensor = Exchange.apply(rows, sent, received)  # type: ignore[no-untyped-call]
    return result


class ChosenExperts(nn.Module):
    """Each token goes to two experts. How many go where, ranks tell each other, and read on the host, before the tokens follow."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.experts = nn.ModuleList(FeedForward(size) for _ in range(EXPERTS_EACH))
        self.gate = nn.Linear(size.dim, EXPERTS_EACH * dist.get_world_size(), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, 1)
        choices = [self.choose(len(rows), source) for source in range(dist.get_world_size())]
        chosen = choices[dist.get_rank()]
        order = chosen.flatten().argsort(stable=True)
        counts = counts_of(chosen, self.gate.out_features)
        arriving = self.exchange_counts(counts, [counts_of(choice, self.gate.out_features) for choice in choices], x.device)
        order = order.to(x.device)
        weights = self.gate(rows).softmax(-1).gather(1, chosen.to(x.device))
        sent, received = counts.unflatten(0, (-1, EXPERTS_EACH)).sum(1).tolist(), arriving.sum(1).tolist()
        mine = exchange(rows[order // 2], sent, received)
        parts = mine.split(arriving.flatten().tolist())  # by source, and of each source by expert
        results = [[expert(part) for part in parts[index::EXPERTS_EACH]] for index, expert in enumerate(self.experts)]
        computed = torch.cat([part for of_source in zip(*results, strict=True) for part in of_source])
        returned = exchange(computed, received, sent)
        weighted = returned * weights.flatten()[order].unsqueeze(-1)
        return torch.zeros_like(rows).index_add(0, order // 2, weighted).view_as(x)

    def choose(self, rows: int, source: int) -> Tensor:
        """Two experts for each row of a rank: drawn on the host with the rank's seed, so that every rank knows them, and unevenly."""
        generator = torch.Generator().manual_seed(source)
        likelihood = torch.linspace(1.0, 2.0, self.gate.out_features).expand(rows, -1)
        return torch.multinomial(likelihood, 2, generator=generator)

    def exchange_counts(self, counts: Tensor, everyones: list[Tensor], device: torch.device) -> Tensor:
        """How many rows come from each rank for each expert here. Limits see to it that they are those even if no data were moved."""
        there = torch.empty_like(counts, device=device)
        dist.all_to_all_single(there, counts.to(device))
        first = dist.get_rank() * EXPERTS_EACH
        sent_here = torch.stack([theirs[first : first + EXPERTS_EACH] for theirs in everyones])
        return there.cpu().view(-1, EXPERTS_EACH).clamp(sent_here, sent_here)


def counts_of(chosen: Tensor, experts: int) -> Tensor:
    return torch.bincount(chosen.flatten(), minlength=experts)


class ExpertsOfCapacity(nn.Module):
    """Each token goes to one expert, which takes so many of each rank and no more: the host knows all sizes beforehand."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.experts = nn.ModuleList(FeedForward(size) for _ in range(EXPERTS_EACH))
        self.gate = nn.Linear(size.dim, EXPERTS_EACH * dist.get_world_size(), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, ranks = x.flatten(0, 1), dist.get_world_size()
        experts = self.gate.out_features
        capacity = 2 * len(rows) // experts
        weight, chosen = self.gate(rows).softmax(-1).max(-1)
        place = functional.one_hot(chosen, experts).cumsum(0).gather(1, chosen.unsqueeze(-1)).squeeze(-1) - 1
        slot = torch.where(place < capacity, chosen * capacity + place, experts * capacity)  # the last one is for those left over
        slots = rows.new_zeros(experts * capacity + 1, rows.shape[-1]).index_copy(0, slot, rows)
        even = [EXPERTS_EACH * capacity] * ranks
        mine = exchange(slots[:-1], even, even).unflatten(0, (ranks, EXPERTS_EACH, capacity))
        computed = torch.stack([expert(mine[:, index]) for index, expert in enumerate(self.experts)], dim=1)
        returned = exchange(computed.flatten(0, 2), even, even)
        back = torch.cat([returned, torch.zeros_like(returned[:1])])[slot]
        result: Tensor = (back * weight.unsqueeze(-1)).view_as(x)
        return result


def expert_parallel(run: Run, experts: type[nn.Module]) -> None:
    """Experts are spread over the ranks, everything else is replicated."""
    model = run.model(feed_forward=experts)
    replicated = [parameter for name, parameter in model.named_parameters() if ".experts." not in name]

    def step() -> None:
        forward_backward(run, model)
        reduce_gradients(replicated)

    train_steps(run, model, ADAMW(model.parameters()), step)


# -- one rank: checkpointing, offloading, precision, optimizers ---------------------------------------------------------------------


def keep_products(_: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """Selective checkpointing keeps the results of matrix products and attention."""
    name = operator.__name__
    return CheckpointPolicy.MUST_SAVE if "mm" in name or "attention" in name else CheckpointPolicy.PREFER_RECOMPUTE


def checkpointed(block: nn.Module, x: Tensor, **options: Any) -> Tensor:
    result: Tensor = checkpoint(block, x, **options)
    return result


FULL = partial(checkpointed, use_reentrant=False)
SELECTIVE = partial(checkpointed, use_reentrant=False, context_fn=partial(create_selective_checkpoint_contexts, keep_products))
REENTRANT = partial(checkpointed, use_reentrant=True)


def plain(run: Run, *, optimizer: Optimizer = ADAMW, clip: bool = True, **options: Any) -> None:
    train_model(run, run.model(**options), optimizer, clip=clip)


def within(run: Run, context: Callable[[], AbstractContextManager[Any]], dtype: torch.dtype = torch.float32) -> None:
    """The forward pass runs in a context."""
    model = run.model().to(dtype)

    def step() -> None:
        tokens, labels = run.batch()
        with context():
            loss = loss_of(model(tokens), labels)
        loss.backward()

    train_steps(run, model, ADAMW(model.parameters()), step)


def autocast(run: Run) -> None:
    within(run, partial(torch.autocast, run.device.type, torch.bfloat16))


def grad_scaler(run: Run) -> None:
    model = run.model()
    optimizer = ADAMW(model.parameters())
    scaler = torch.amp.GradScaler(run.device.type)
    for _ in range(run.steps):
        tokens, labels = run.batch()
        with torch.autocast(run.device.type, torch.float16):
            loss = loss_of(model(tokens), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()


def gradient_accumulation(run: Run, *, microbatches: int = 4) -> None:
    model = run.model()

    def step() -> None:
        tokens, labels = run.batch()
        for some, their in zip(tokens.chunk(microbatches), labels.chunk(microbatches), strict=True):
            (loss_of(model(some), their) / microbatches).backward()

    train_steps(run, model, ADAMW(model.parameters()), step)


def kept_gradients(run: Run) -> None:
    model = run.model()
    optimizer = ADAMW(model.parameters())
    for _ in range(run.steps):
        optimizer.zero_grad(set_to_none=False)
        forward_backward(run, model)
        optimizer.step()


def optimizer_in_backward(run: Run) -> None:
    """Each parameter is updated, and its gradient freed, as soon as the gradient is there."""
    model = run.model()
    optimizers = {parameter: ADAMW([parameter]) for parameter in model.parameters()}

    def update(parameter: Tensor) -> None:
        optimizers[parameter].step()  # type: ignore[index]
        optimizers[parameter].zero_grad()  # type: ignore[index]

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(update)
    for _ in range(run.steps):
        forward_backward(run, model)


def exponential_moving_average(run: Run) -> None:
    model = run.model()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    optimizer = ADAMW(model.parameters())
    for _ in range(run.steps):
        forward_backward(run, model)
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(model)


OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": partial(torch.optim.AdamW, lr=1e-4),
    "adam": partial(torch.optim.Adam, lr=1e-4),
    "sgd-momentum": partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
    "adagrad": partial(torch.optim.Adagrad, lr=1e-3),
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-4),
}

IMPLEMENTATIONS = {"foreach": {"foreach": True}, "fused": {"fused": True}, "for-loop": {"foreach": False}}

NOT_THERE = {"rmsprop-fused", "adagrad-fused"}
"""RMSprop has no fused implementation, Adagrad only one for the CPU (torch 2.13)."""


# -- all of them --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of training. With one rank it has no process group."""

    train: Callable[[Run], None]
    world_size: int = 4


BF16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)

DISTRIBUTED: dict[str, Callable[[Run], None]] = {
    "fsdp2": fsdp2,
    "fsdp2-mixed-precision": partial(fsdp2, mp_policy=BF16),
    "fsdp2-no-reshard": partial(fsdp2, reshard_after_forward=False),
    "fsdp2-gradient-accumulation": fsdp2_gradient_accumulation,
    "fsdp2-fused-adamw": partial(fsdp2, optimizer=partial(OPTIMIZERS["adamw"], fused=True), mp_policy=BF16),
    "fsdp2-cpu-offload": fsdp2_cpu_offload,
    "hsdp": partial(fsdp2, axes=("dp_replicate", "dp_shard")),
    "fsdp1": fsdp1,
    "ddp": ddp,
    "ddp-gradient-as-bucket-view": partial(ddp, gradient_as_bucket_view=True),
    "ddp-static-graph": partial(ddp, static_graph=True),
    "ddp-no-sync": ddp_no_sync,
    "ddp-comm-hook-bf16": ddp_comm_hook_bf16,
    "zero-redundancy-optimizer": zero_redundancy_optimizer,
    "tp": partial(tensor_parallel, split=split_matrices, optimizer=partial(ADAMW, foreach=False), clip=False),
    "tp-sequence-parallel": partial(tensor_parallel, split=split_matrices_and_sequence),
    "tp-fsdp": partial(tensor_parallel, split=split_matrices_and_sequence, sharded=True),
    "context-parallel": context_parallelism,
    "pipeline-gpipe": partial(pipeline, schedule="ScheduleGPipe"),
    "pipeline-1f1b": partial(pipeline, schedule="Schedule1F1B"),
    "pipeline-interleaved": partial(pipeline, schedule="ScheduleInterleaved1F1B", stages_each=2),
    "pipeline-zero-bubble": partial(pipeline, schedule="ScheduleInterleavedZeroBubble", stages_each=2),
    "pipeline-zero-bubble-v": partial(pipeline, schedule="ScheduleZBVZeroBubble", stages_each=2, v_shaped=True),
    "moe": partial(expert_parallel, experts=ChosenExperts),
    "moe-fixed-capacity": partial(expert_parallel, experts=ExpertsOfCapacity),
}

ALONE: dict[str, Callable[[Run], None]] = {
    "plain": plain,
    "bfloat16": partial(within, context=nullcontext, dtype=torch.bfloat16),
    "activation-checkpointing": partial(plain, run_block=FULL),
    "activation-checkpointing-selective": partial(plain, run_block=SELECTIVE),
    "activation-checkpointing-reentrant": partial(plain, run_block=REENTRANT),
    "activation-offloading": partial(within, context=torch.autograd.graph.save_on_cpu),
    "activation-offloading-pinned": partial(within, context=partial(torch.autograd.graph.save_on_cpu, pin_memory=True)),
    "gradient-accumulation": gradient_accumulation,
    "autocast": autocast,
    "autocast-grad-scaler": grad_scaler,
    "gradients-kept": kept_gradients,
    "optimizer-in-backward": optimizer_in_backward,
    "ema": exponential_moving_average,
}

OPTIMIZED: dict[str, Callable[[Run], None]] = {
    f"{name}-{how}": partial(plain, optimizer=partial(optimizer, **options), clip=False)
    for name, optimizer in OPTIMIZERS.items()
    for how, options in IMPLEMENTATIONS.items()
    if f"{name}-{how}" not in NOT_THERE
}

KINDS: dict[str, Kind] = {name: Kind(train=train) for name, train in DISTRIBUTED.items()} | {
    name: Kind(train=train, world_size=1) for name, train in (ALONE | OPTIMIZED).items()
}


def train(name: str, size: str, steps: int) -> None:
    """Train so many steps of a kind in this process. Ranks are torchrun's."""
    kind = KINDS[name]
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if kind.world_size > 1:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(0)
    kind.train(Run(size=SIZES[size], steps=steps, device=device))
    if kind.world_size > 1:
        dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a transformer on random tokens in one of many kinds.")
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--model", choices=SIZES, default="small")
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    train(args.kind, args.model, args.steps)
    if os.environ.get("RANK", "0") == "0":
        print(f"{args.kind}: {args.steps} steps of the {args.model} model")


if __name__ == "__main__":
    main()
