"""Advice is followed by changing the options of a program: its peak is the one that was predicted, within 1 %."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.advice import advice_for
from fakerun.analysis.memory.advice.replication import gradient_reductions
from fakerun.analysis.memory.reserved import reserved_memory
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.device_program import DeviceProgram
from fakerun.records.run import RankRecord
from fakerun.records.store import RecordStore
from tests.commands import fakerun

WITHIN = 0.01
EXPANDABLE = AllocatorSettings.parse("expandable_segments:True")
ONE_GPU = "tests/memory_advice/train.py"
FSDP = "scripts/train_fsdp.py"
TP_FSDP = "scripts/train_tp_fsdp.py"
PIPELINE = "scripts/train_4d.py"
HYBRID = "tests/memory_advice/train_hybrid.py"
EXPERTS = "tests/memory_advice/train_experts.py"
FEW = "--tokens 2048 --autocast"


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A program with options, and those with which it follows this advice."""

    advice: str
    options: str
    followed: str
    script: str = ONE_GPU
    hardware: str = "l4"
    fits: bool = False
    settings: tuple[str, ...] = ("", "expandable_segments:True")
    world: str = "--world-size 1"
    rank: int = 0


LLAMA = "--model 1b --activation-checkpointing"
TP_LLAMA = "--model 1b --batch-size 2 --activation-checkpointing"
STAGES = "--model 1b --pp 2 --tp 2 --microbatches 2 --seq-len 16384 --activation-checkpointing"
OF_FSDP = "--world-size 8 --mesh dp=8"
OF_EXPERTS = "--world-size 4 --mesh ep=4"
BLOCKS = "activation checkpointing of blocks.*"
LAYERS = "activation checkpointing of layers.*"

CASES = {
    "checkpoint": Followed(advice=BLOCKS, options="", followed="--checkpointing"),
    "checkpoint under autocast": Followed(advice=BLOCKS, options="--autocast", followed="--autocast --checkpointing"),
    "checkpoint under FSDP": Followed(advice=LAYERS, script=FSDP, world=OF_FSDP, options=f"{LLAMA} none", followed=f"{LLAMA} full"),
    "reshard": Followed(
        advice="reshard_after_forward of Llama3 and layers.*",
        script=FSDP,
        world=OF_FSDP,
        options=f"{LLAMA} none --reshard-after-forward never",
        followed=f"{LLAMA} none --reshard-after-forward always",
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
        advice=f"deleting bfloat16[24576,64000] of {ONE_GPU}:41", options="--delete-logits never", followed="--delete-logits after-step"
    ),
    "two together": Followed(
        advice="1 and 2 together", options="--delete-logits never", followed="--delete-logits never --chunks 8 --checkpointing"
    ),
    "states over the ranks of DDP": Followed(
        advice="optimizer states sharded over ep",
        script=EXPERTS,
        options="--tokens 1024",
        followed="--tokens 1024 --zero",
        world=OF_EXPERTS,
        fits=True,
    ),
    "shard over the replicas of FSDP": Followed(
        advice="FSDP that shards over dp_replicate, too", script=HYBRID, options="", followed="--flat", world="--world-size 8", fits=True
    ),
    "checkpoint with experts": Followed(
        advice=BLOCKS, script=EXPERTS, options="--tokens 32768", followed="--tokens 32768 --checkpointing", world=OF_EXPERTS
    ),
    "checkpoint under TP": Followed(
        advice=LAYERS, script=TP_FSDP, options=f"{TP_LLAMA} none", followed=f"{TP_LLAMA} full", world="--world-size 8", settings=("",)
    ),
    "checkpoint the last stage of a pipeline": Followed(
        advice=LAYERS, script=PIPELINE, options=f"{STAGES} none", followed=f"{STAGES} full", world="--world-size 8", rank=4, settings=("",)
    ),
    "expandable segments": Followed(advice="expandable segments", options="", followed="", settings=("",)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_peak_is_the_one_that_was_predicted(case: str) -> None:
    followed = CASES[case]
    hardware = hardware_named(followed.hardware)
    where = followed.hardware, followed.world, followed.rank
    record = record_of(followed.script, followed.options, *where)
    before, reductions = record.program, gradient_reductions(record.collectives, record.steps)
    after = record_of(followed.script, followed.followed, *where).program
    given = 0
    for text in followed.settings:
        settings = AllocatorSettings.parse(text)
        now = peak_bytes(before, settings, hardware)
        assert (now <= hardware.usable_bytes) is followed.fits
        for advice in advice_for(before, settings, hardware, device=0, peak_bytes=now, reductions=reductions):
            if advice.what == followed.advice:
                given += 1
                changed = EXPANDABLE if advice.what == "expandable segments" else settings
                assert advice.peak_reserved_bytes == pytest.approx(peak_bytes(after, changed, hardware), rel=WITHIN)
                assert advice.saved_bytes == now - advice.peak_reserved_bytes
    assert given, "the advice is not given"


def peak_bytes(program: DeviceProgram, settings: AllocatorSettings, hardware: Accelerator) -> int:
    return reserved_memory(program, settings, hardware)[0].peak_bytes


@cache
def record_of(script: str, options: str, hardware: str, world: str, rank: int) -> RankRecord:
    """What a rank of the program does."""
    with TemporaryDirectory() as directory:
        kept = str(Path(directory, "run"))
        simulated = ("--ranks", str(rank), "--steps", "3", "--hardware", hardware, "--run-dir", kept)
        result = fakerun(*world.split(), *simulated, script, *options.split())
        record = RecordStore(Path(kept)).read(rank)
        assert record is not None, result.stderr
        assert record.steps == 3, result.stderr
        return record
