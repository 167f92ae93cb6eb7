"""Advice is followed by changing the options of a program: its peak is the one that was predicted, within 1 %."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.advice import Advice, advice_for
from fakerun.analysis.memory.advice.replication import gradient_reductions
from fakerun.analysis.memory.reserved import reserved_memory
from fakerun.hardware.catalogue import hardware_named
from fakerun.job.mesh import parse_mesh
from fakerun.job.spec import JobSpec
from fakerun.records.device_program import DeviceProgram
from fakerun.records.run import RankRecord
from tests.in_process import record_of_script

WITHIN = 0.01
EXPANDABLE = AllocatorSettings.parse("expandable_segments:True")
L4 = hardware_named("l4")


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program as it is run on nodes of one L4 each, and the rank that is looked at."""

    script: str
    world_size: int = 1
    mesh: str | None = None
    rank: int = 0


ONE_GPU = Program(script="tests/memory_advice/train.py")
FSDP = Program(script="scripts/train_fsdp.py", world_size=8, mesh="dp=8")
TP_FSDP = Program(script="scripts/train_tp_fsdp.py", world_size=8)
LAST_STAGE = Program(script="scripts/train_4d.py", world_size=8, rank=4)
HYBRID = Program(script="tests/memory_advice/train_hybrid.py", world_size=8)
EXPERTS = Program(script="tests/memory_advice/train_experts.py", world_size=4, mesh="ep=4")


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The options of a program, and those with which it follows this advice."""

    advice: str
    options: str
    followed: str
    program: Program = ONE_GPU
    fits: bool = False
    settings: tuple[str, ...] = ("", "expandable_segments:True")


FEW = "--tokens 2048 --autocast"
RESHARDED = "--model 1b --reshard-after-forward always --activation-checkpointing"
TP_LLAMA = "--model 1b --batch-size 2 --activation-checkpointing"
STAGES = "--model 1b --pp 2 --tp 2 --microbatches 2 --seq-len 16384 --activation-checkpointing"
BLOCKS = "activation checkpointing of blocks.*"
LAYERS = "activation checkpointing of layers.*"

CASES = {
    "checkpoint": Followed(advice=BLOCKS, options="", followed="--checkpointing"),
    "checkpoint under autocast": Followed(advice=BLOCKS, options="--autocast", followed="--autocast --checkpointing"),
    "checkpoint under FSDP": Followed(advice=LAYERS, program=FSDP, options=f"{RESHARDED} none", followed=f"{RESHARDED} full"),
    "reshard": Followed(
        advice="reshard_after_forward of Llama3 and layers.*",
        program=FSDP,
        options="--model 1b --reshard-after-forward never --activation-checkpointing none",
        followed=f"{RESHARDED} none",
    ),
    "chunk the loss": Followed(advice="the loss in 8 chunks", options="", followed="--chunks 8"),
    "fuse the optimizer": Followed(advice="a fused optimizer step", options=FEW, followed=f"{FEW} --fused", fits=True),
    "loop over the parameters": Followed(advice="an optimizer step without foreach", options=FEW, followed=f"{FEW} --for-loop", fits=True),
    "loop over the parameters of SGD": Followed(
        advice="an optimizer step without foreach", options=f"{FEW} --sgd", followed=f"{FEW} --sgd --for-loop", fits=True
    ),
    "states in bfloat16": Followed(
        advice="optimizer states in bfloat16", options=FEW, followed=f"{FEW} --fused --bfloat16-states", fits=True
    ),
    "gradients to None": Followed(advice="gradients set to None", options="--keep-gradients", followed=""),
    "zero_grad earlier": Followed(advice="zero_grad() at the end of the step", options="--zero-grad-late", followed=""),
    "delete the logits": Followed(
        advice=f"deleting bfloat16[24576,64000] of {ONE_GPU.script}:41",
        options="--delete-logits never",
        followed="--delete-logits after-step",
    ),
    "two together": Followed(
        advice="1 and 2 together", options="--delete-logits never", followed="--delete-logits never --chunks 8 --checkpointing"
    ),
    "states over the ranks of DDP": Followed(
        advice="optimizer states sharded over ep",
        program=EXPERTS,
        options="--tokens 1024",
        followed="--tokens 1024 --zero",
        fits=True,
    ),
    "shard over the replicas of FSDP": Followed(
        advice="FSDP that shards over dp_replicate, too", program=HYBRID, options="", followed="--flat", fits=True
    ),
    "checkpoint with experts": Followed(
        advice=BLOCKS, program=EXPERTS, options="--tokens 32768", followed="--tokens 32768 --checkpointing"
    ),
    "checkpoint under TP": Followed(
        advice=LAYERS, program=TP_FSDP, options=f"{TP_LLAMA} none", followed=f"{TP_LLAMA} full", settings=("",)
    ),
    "checkpoint the last stage of a pipeline": Followed(
        advice=LAYERS, program=LAST_STAGE, options=f"{STAGES} none", followed=f"{STAGES} full", settings=("",)
    ),
    "expandable segments": Followed(advice="expandable segments", options="", followed="", settings=("",)),
}


NEEDS_TORCH = {"states in bfloat16": (2, 13)}
"""Where the kernel that the advice is about is newer than the oldest torch."""
TORCH = tuple(map(int, torch.__version__.split(".")[:2]))


@pytest.mark.parametrize("case", CASES)
def test_the_peak_is_the_one_that_was_predicted(case: str) -> None:
    followed = CASES[case]
    if NEEDS_TORCH.get(case, TORCH) > TORCH:
        pytest.skip("torch has no such kernel")
    before, after = (record_of(followed.program, options).program for options in (followed.options, followed.followed))
    given = 0
    for text in followed.settings:
        settings = AllocatorSettings.parse(text)
        now = peak_bytes(before, settings)
        assert (now <= L4.usable_bytes) is followed.fits
        for advice in advice_of(followed.program, followed.options, text):
            if advice.what == followed.advice:
                given += 1
                changed = EXPANDABLE if advice.what == "expandable segments" else settings
                assert advice.peak_reserved_bytes == pytest.approx(peak_bytes(after, changed), rel=WITHIN)
                assert advice.saved_bytes == now - advice.peak_reserved_bytes
    assert given, "the advice is not given"


def peak_bytes(program: DeviceProgram, settings: AllocatorSettings) -> int:
    """The peak of the only device that is used."""
    (memory,) = reserved_memory(program, settings, L4).values()
    return memory.peak_bytes


@cache
def advice_of(program: Program, options: str, settings: str) -> tuple[Advice, ...]:
    """What the rank is advised, with these settings of the allocator."""
    record, allocator = record_of(program, options), AllocatorSettings.parse(settings)
    reductions = gradient_reductions(record.collectives, record.steps)
    (device,) = {block.device for block in record.program.blocks}
    now = peak_bytes(record.program, allocator)
    return advice_for(record.program, allocator, L4, device=device, peak_bytes=now, reductions=reductions)


@cache
def record_of(program: Program, options: str) -> RankRecord:
    """What the rank does in three steps."""
    job = JobSpec(
        script=Path(program.script),
        args=tuple(options.split()),
        nnodes=program.world_size,
        mesh=None if program.mesh is None else parse_mesh(program.mesh),
        hardware=L4,
        steps=3,
    )
    record = record_of_script(job, program.rank)
    assert record.steps == 3
    return record
