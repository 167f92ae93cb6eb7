"""Programs on a real GPU: the allocator reserves as much for the same requests, and the same requests are predicted."""

import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.settings import AllocatorSettings
from fakerun.hardware.catalogue import hardware_named
from tests.commands import fakerun
from tests.oracles.gpu_programs import CARDS, measured

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from dev.gpu.programs import kinds
from dev.gpu.reduced_programs import counters_of
from dev.gpu.tolerances import differences

if TYPE_CHECKING:
    from fakerun.allocator.blocks import Block

PREDICTED = ("fsdp2-mixed-precision", "ddp", "moe", "pipeline-zero-bubble", "activation-offloading-pinned", "autocast-grad-scaler")
"""Those that are run; each takes some seconds."""


@pytest.mark.parametrize(
    ("card", "name"), [(card, name) for card in CARDS for name, program in measured(card).items() if "events" in program]
)
def test_the_allocator_reserves_as_much_for_the_same_requests(card: str, name: str) -> None:
    program = measured(card)[name]
    allocator = CachingAllocator(AllocatorSettings.parse(program["settings"]), total_bytes=hardware_named(card).usable_bytes)
    blocks: list[Block] = []
    for event in program["events"]:
        if isinstance(event, int) and event < 0:
            allocator.free(blocks[-event - 1])
        else:
            blocks.append(allocator.allocate(*event) if isinstance(event, list) else allocator.allocate(event))
    assert allocator.peak_reserved_bytes == peak(program, "reserved")


def test_what_ran_on_both_cards_has_the_same_peaks() -> None:
    """They differ in memory only, which no program came near to."""
    of_one, of_other = map(measured, CARDS)
    both = set(of_one) & set(of_other)
    assert len(both) == 55
    for name in both:
        for kind in ("allocated", "reserved"):
            assert peak(of_one[name], kind) == peak(of_other[name], kind)


@pytest.mark.parametrize(("card", "name"), [*(("h100-80gb", name) for name in PREDICTED), ("h200", PREDICTED[0])])
def test_peaks_and_requests_are_predicted(card: str, name: str, tmp_path: Path) -> None:
    name = f"kind-{name}"
    real, program = measured(card)[name], kinds()[name]
    out = tmp_path / "predicted.json.gz"
    words = ("--run", name, "--steps", "3", "--out", out)
    world = ("--world-size", program.world_size, "--ranks", program.rank, "--steps", "all", "--hardware", card)
    fakerun("scripts/dev/gpu/programs.py", *map(str, (*world, "--", *words)))
    with gzip.open(out, "rt") as file:
        predicted = json.load(file)
    assert peak(predicted, "allocated") == pytest.approx(peak(real, "allocated"), rel=1e-3)
    assert peak(predicted, "reserved") == pytest.approx(peak(real, "reserved"), rel=2e-2)
    if torch.__version__.startswith("2.11"):  # the one that ran
        assert [str(each) for each in differences(name, real, predicted) if not each.known] == []
        if "events" in real:
            assert sorted(large(bytes_of(predicted["trace"]))) == sorted(large(real["events"]))


def peak(program: dict[str, Any], kind: str) -> int:
    return counters_of(program)[f"{kind}_bytes.all.peak"]


def bytes_of(trace: list[list[Any]]) -> Iterator[int]:
    return (nbytes for action, _, nbytes, _ in trace if action == "alloc")


def large(events: Any) -> Iterator[int]:
    """The bytes of requests of 1 MiB and more."""
    for event in events:
        nbytes = event[0] if isinstance(event, list) else event
        if nbytes >= 2**20:
            yield nbytes
