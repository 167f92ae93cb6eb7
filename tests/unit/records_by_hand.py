"""Records for tests. Each function is named after what it builds; keywords override its fields."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fakerun.analysis.memory.footprint import MemoryFootprint
from fakerun.analysis.memory.need import DeviceNeed
from fakerun.analysis.memory.reserved import ReservedMemory
from fakerun.analysis.memory.timeline import MemoryTimeline
from fakerun.call_site import CallSite
from fakerun.hardware.accelerator import Accelerator, Vendor
from fakerun.job.mesh import MeshSpec
from fakerun.job.spec import JobSpec
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, CollectiveRecord, Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, program_of
from fakerun.records.memory import Category, MemoryBlock, rounded_size_bytes
from fakerun.records.rank_function import RankFunction, RankOperation
from fakerun.records.run import RankRecord, RunRecord

GIB = 1024**3
MIB = 1024**2

H100 = Accelerator(
    name="h100-80gb",
    vendor=Vendor.NVIDIA,
    device_name="NVIDIA H100 80GB HBM3",
    usable_bytes=84_975_484_928,
    compute_capability=(9, 0),
    multiprocessors=132,
)


def site(text: str) -> CallSite:
    """`train.py:7`, in no function."""
    path, _, line = text.rpartition(":")
    return CallSite(path, int(line))


def text(where: CallSite | None) -> str | None:
    """The text from which `site` builds this call site."""
    return None if where is None else str(where)


def _with_site(fields: dict[str, Any]) -> dict[str, Any]:
    """A call site may be given as text."""
    given = fields.get("call_site")
    return {**fields, "call_site": site(given)} if isinstance(given, str) else fields


def block(nbytes: int, category: Category = Category.TEMPORARY, **fields: Any) -> MemoryBlock:
    default = MemoryBlock(
        nbytes=rounded_size_bytes(nbytes),
        requested_bytes=nbytes,
        category=category,
        phase=Phase.OTHER,
        module=None,
        call_site=site("train.py:1"),
        shape=(nbytes // 4,),
        dtype="float32",
        device=0,
    )
    return replace(default, **_with_site(fields))


def timeline(blocks: Iterable[MemoryBlock], events: Iterable[int], step_ends: Iterable[int] = ()) -> MemoryTimeline:
    return MemoryTimeline(blocks=tuple(blocks), events=tuple(events), step_ends=tuple(step_ends))


def need(footprint: MemoryFootprint, usable_bytes: int = H100.usable_bytes) -> DeviceNeed:
    """What reserves just what it allocates, on a device with so much memory."""
    peak_bytes = footprint.peak_bytes
    return DeviceNeed(footprint=footprint, reserved=ReservedMemory(peak_bytes=peak_bytes), runs_out=peak_bytes > usable_bytes)


def program(blocks: Iterable[MemoryBlock], events: Iterable[int], step_ends: Iterable[int] = ()) -> DeviceProgram:
    """The program that does nothing but allocate and free; the arguments are those of `timeline`."""
    blocks = tuple(blocks)
    devices = max((block.device for block in blocks), default=0)
    streams = tuple(DeviceStream(device=device) for device in range(devices + 1))
    return program_of([replace(block, stream=block.device) for block in blocks], events, streams=streams, step_ends=tuple(step_ends))


def collective(op: CollectiveOp = CollectiveOp.ALL_REDUCE, **fields: Any) -> CollectiveRecord:
    default = CollectiveRecord(
        seq=0,
        step=0,
        phase=Phase.BACKWARD,
        op=op,
        group="dp",
        group_ranks=(0, 1, 2, 3),
        dtype="float32",
        input_sizes=((250,),),
        output_sizes=((250,),),
        nbytes=1000,
        reduce_op=None,
        tag=None,
        input_splits=None,
        output_splits=None,
        is_async=False,
        coalesced=None,
        device=0,
        waited=True,
        waited_before=None,
        module=None,
        call_site=site("train.py:20"),
        process_group="",
        root=None,
        peer=None,
    )
    return replace(default, **_with_site(fields))


def in_order(collectives: Iterable[CollectiveRecord]) -> tuple[CollectiveRecord, ...]:
    return tuple(replace(record, seq=seq) for seq, record in enumerate(collectives))


def job(**fields: Any) -> JobSpec:
    return replace(JobSpec(script=Path("train.py"), nproc_per_node=4, hardware=H100), **fields)


def run(*ranks: RankRecord) -> RunRecord:
    return RunRecord(fakerun_version="0.1.0", torch_version="2.13.0", ranks=ranks)


def llama_8b_job() -> JobSpec:
    """TP + FSDP2 of the Llama-3 8B shape on 2 x 4 ranks."""
    return job(
        script=Path("scripts/train_tp_fsdp.py"),
        args=("--model", "8b"),
        nproc_per_node=8,
        mesh=MeshSpec(axes=("dp", "tp"), sizes=(2, 4), named=False),
    )


def llama_8b_rank(rank: int = 0) -> RankRecord:
    """A simplified 8B step: 32 layers gathered, computed and scattered; the optimizer's state is created in step 0."""
    mesh = Mesh.of({"dp": 2, "tp": 4})
    return RankRecord(
        rank=rank,
        mesh=mesh,
        steps=2,
        collectives=in_order(_llama_collectives(rank)),
        program=_llama_program(),
        devices=(rank % 8,),
        torch_version="2.13.0",
    )


_LAYERS = 32
_LAYER_PARAMETERS = 218_112_000 // 4
_MODEL = "scripts/llama.py"


def _llama_collectives(rank: int) -> Iterable[CollectiveRecord]:
    tp_ranks = tuple(range(rank // 4 * 4, rank // 4 * 4 + 4))
    dp_ranks = (rank % 4, rank % 4 + 4)
    dp = collective(group="dp", group_ranks=dp_ranks, dtype="bfloat16", call_site=f"{_MODEL}:140")
    tp = collective(group="tp", group_ranks=tp_ranks, dtype="bfloat16", call_site=f"{_MODEL}:96", nbytes=32 * MIB)
    shard, whole = ((_LAYER_PARAMETERS // 2,),), ((_LAYER_PARAMETERS,),)
    sequence_shard, sequence = ((1, 1024, 4096),), ((1, 4096, 4096),)
    gather = replace(dp, op=CollectiveOp.ALL_GATHER_INTO_TENSOR, input_sizes=shard, output_sizes=whole, nbytes=2 * _LAYER_PARAMETERS)
    scatter = replace(
        dp,
        op=CollectiveOp.REDUCE_SCATTER_TENSOR,
        dtype="float32",
        input_sizes=whole,
        output_sizes=shard,
        nbytes=4 * _LAYER_PARAMETERS,
        reduce_op="avg",
    )
    tp_gather = replace(tp, op=CollectiveOp.ALL_GATHER_INTO_TENSOR, input_sizes=sequence_shard, output_sizes=sequence)
    tp_scatter = replace(tp, op=CollectiveOp.REDUCE_SCATTER_TENSOR, input_sizes=sequence, output_sizes=sequence_shard, reduce_op="sum")
    for step in range(2):
        if step == 0:
            yield replace(
                dp, op=CollectiveOp.BROADCAST, phase=Phase.OTHER, dtype="int64", nbytes=8, call_site=site("scripts/train_tp_fsdp.py:41")
            )
        for layer in range(_LAYERS):
            yield replace(gather, step=step, phase=Phase.FORWARD, module=f"layers.{layer}")
            for part in ("attention", "feed_forward"):
                yield replace(tp_gather, step=step, phase=Phase.FORWARD, module=f"layers.{layer}.{part}")
                yield replace(tp_scatter, step=step, phase=Phase.FORWARD, module=f"layers.{layer}.{part}")
        for layer in reversed(range(_LAYERS)):
            for part in ("feed_forward", "attention"):
                yield replace(tp_gather, step=step, module=f"layers.{layer}.{part}")
                yield replace(tp_scatter, step=step, module=f"layers.{layer}.{part}")
            yield replace(scatter, step=step, module=f"layers.{layer}")


def _llama_program() -> DeviceProgram:
    shard_bytes = 2 * _LAYER_PARAMETERS  # float32, half of the tensor-parallel share
    blocks: list[MemoryBlock] = []
    events: list[int] = []

    def allocate(nbytes: int, category: Category, **fields: Any) -> int:
        blocks.append(block(nbytes, category, **fields))
        events.append(len(blocks) - 1)
        return len(blocks) - 1

    def free(indices: Iterable[int]) -> None:
        events.extend(~index for index in indices)

    weights = {"shape": (14336, 4096 // 8), "call_site": f"{_MODEL}:61"}
    allocate(525_336_576 // 2, Category.PARAMETER, module="tok_embeddings", **weights)
    for layer in range(_LAYERS):
        for name, share in (("attention.wq", 8), ("feed_forward.w1", 4), ("feed_forward.w2", 4), ("feed_forward.w3", 4)):
            allocate(shard_bytes // share, Category.PARAMETER, module=f"layers.{layer}.{name}", **weights)
    allocate(128 * 4096 * 8, Category.BUFFER, module="", shape=(4096, 64), dtype="complex64", call_site=f"{_MODEL}:30")
    step_ends = []
    for step in range(2):
        tokens = allocate(8 * 4096, Category.INPUT, shape=(1, 4096), dtype="int64", call_site="scripts/train_tp_fsdp.py:77")
        activations = [
            allocate(
                size * MIB,
                Category.ACTIVATION,
                phase=Phase.FORWARD,
                module=f"layers.{layer}.{name}",
                shape=(1, 4096, size * 128),
                dtype="bfloat16",
                call_site=f"{_MODEL}:{line}",
            )
            for layer in range(_LAYERS)
            for name, size, line in (("attention", 8, 88), ("feed_forward", 28, 112), ("feed_forward.w1", 28, 112))
        ]
        backward = {"phase": Phase.BACKWARD}
        logits = allocate(
            4096 * 128256 // 4 * 4,
            Category.TEMPORARY,
            **backward,
            module="output",
            shape=(1, 4096, 32064),
            call_site="scripts/train_tp_fsdp.py:90",
        )
        unsharded = allocate(
            2 * _LAYER_PARAMETERS,
            Category.COMMUNICATION,
            **backward,
            module="layers.31",
            shape=(_LAYER_PARAMETERS,),
            dtype="bfloat16",
            call_site="scripts/train_tp_fsdp.py:91",
        )
        free((*activations, logits, unsharded, tokens))
        gradients = [
            allocate(shard_bytes, Category.GRADIENT, **backward, module=f"layers.{layer}", call_site="scripts/train_tp_fsdp.py:91")
            for layer in range(_LAYERS)
        ]
        if step == 0:
            for _ in range(2 * _LAYERS):
                allocate(shard_bytes, Category.OPTIMIZER_STATE, phase=Phase.OPTIMIZER, call_site="scripts/train_tp_fsdp.py:92")
        free(gradients)
        step_ends.append(len(events))
    return program(blocks, events, step_ends)


# -- functions of the rank ---------------------------------------------------------------------------------------------------------------


def rank_function(operation: RankOperation, *operands: RankFunction, constants: tuple[int, ...] = ()) -> RankFunction:
    return RankFunction(operation=operation, operands=operands, constants=constants)


def constant(number: float) -> RankFunction:
    return RankFunction(operation=RankOperation.CONSTANT, constants=(number,))


def is_rank(number: int) -> RankFunction:
    """`rank == number`"""
    return rank_function(RankOperation.EQ, rank_function(RankOperation.RANK), constant(number))
