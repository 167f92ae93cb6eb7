"""Advice is followed by changing the options of a program: its peak is the one that was predicted, within 1 %."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.advice import advice_for
from fakerun.analysis.memory.reserved import reserved_memory
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.device_program import DeviceProgram
from fakerun.records.store import RecordStore
from tests.commands import fakerun

WITHIN = 0.01
EXPANDABLE = AllocatorSettings.parse("expandable_segments:True")
ONE_GPU = "tests/memory_advice/train.py"
FSDP = "scripts/train_fsdp.py"
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


LLAMA = "--model 1b --activation-checkpointing"
BLOCKS = "activation checkpointing of blocks.*"
LAYERS = "activation checkpointing of layers.*"

CASES = {
    "checkpoint": Followed(advice=BLOCKS, options="", followed="--checkpointing"),
    "checkpoint under autocast": Followed(advice=BLOCKS, options="--autocast", followed="--autocast --checkpointing"),
    "checkpoint under FSDP": Followed(advice=LAYERS, script=FSDP, options=f"{LLAMA} none", followed=f"{LLAMA} full"),
    "reshard": Followed(
        advice="reshard_after_forward of Llama3 and layers.*",
        script=FSDP,
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
    "expandable segments": Followed(advice="expandable segments", options="", followed="", settings=("",)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_peak_is_the_one_that_was_predicted(case: str) -> None:
    followed = CASES[case]
    hardware = hardware_named(followed.hardware)
    before = program_of(followed.script, followed.options, followed.hardware)
    after = program_of(followed.script, followed.followed, followed.hardware)
    given = 0
    for text in followed.settings:
        settings = AllocatorSettings.parse(text)
        now = peak_bytes(before, settings, hardware)
        assert (now <= hardware.usable_bytes) is followed.fits
        for advice in advice_for(before, settings, hardware, device=0, peak_bytes=now):
            if advice.what == followed.advice:
                given += 1
                changed = EXPANDABLE if advice.what == "expandable segments" else settings
                assert advice.peak_reserved_bytes == pytest.approx(peak_bytes(after, changed, hardware), rel=WITHIN)
                assert advice.saved_bytes == now - advice.peak_reserved_bytes
    assert given, "the advice is not given"


def peak_bytes(program: DeviceProgram, settings: AllocatorSettings, hardware: Accelerator) -> int:
    return reserved_memory(program, settings, hardware)[0].peak_bytes


@cache
def program_of(script: str, options: str, hardware: str) -> DeviceProgram:
    """What rank 0 of the program asks of its device."""
    world = ("--world-size", "1") if script == ONE_GPU else ("--world-size", "8", "--mesh", "dp=8")
    with TemporaryDirectory() as directory:
        kept = str(Path(directory, "run"))
        result = fakerun(*world, "--ranks", "0", "--steps", "3", "--hardware", hardware, "--run-dir", kept, script, *options.split())
        record = RecordStore(Path(kept)).read(0)
        assert record is not None, result.stderr
        assert record.steps == 3, result.stderr
        return record.program
