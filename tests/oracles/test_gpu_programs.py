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
from tests.commands import fakerun
from tests.oracles.gpu_programs import measured

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from dev.gpu.programs import kinds

if TYPE_CHECKING:
    from fakerun.allocator.blocks import Block

PREDICTED = ("fsdp2-mixed-precision", "moe", "pipeline-zero-bubble", "activation-offloading-pinned", "autocast-grad-scaler")
"""Those that are run; each takes some seconds."""


@pytest.mark.parametrize("name", [name for name, program in measured().items() if "events" in program])
def test_the_allocator_reserves_as_much_for_the_same_requests(name: str) -> None:
    program = measured()[name]
    allocator = CachingAllocator(AllocatorSettings.parse(program["settings"]), total_bytes=140 * 1024**3)
    blocks: list[Block] = []
    for event in program["events"]:
        if isinstance(event, int) and event < 0:
            allocator.free(blocks[-event - 1])
        else:
            blocks.append(allocator.allocate(*event) if isinstance(event, list) else allocator.allocate(event))
    assert allocator.peak_reserved_bytes == program["reserved"]


@pytest.mark.parametrize("name", PREDICTED)
def test_peaks_and_requests_are_predicted(name: str, tmp_path: Path) -> None:
    name = f"kind-{name}"
    real, program = measured()[name], kinds()[name]
    out = tmp_path / "predicted.json.gz"
    words = ("--run", name, "--steps", "3", "--out", out)
    world = ("--world-size", program.world_size, "--ranks", program.rank, "--steps", "all", "--hardware", "h200")
    fakerun("scripts/dev/gpu/programs.py", *map(str, (*world, "--", *words)))
    with gzip.open(out, "rt") as file:
        predicted = json.load(file)
    peaks = predicted["stats"][-1]
    assert peaks["allocated_bytes.all.peak"] == pytest.approx(real["allocated"], rel=1e-3)
    assert peaks["reserved_bytes.all.peak"] == pytest.approx(real["reserved"], rel=2e-2)
    if torch.__version__.startswith("2.11"):  # the one that ran
        assert peaks["reserved_bytes.all.peak"] == pytest.approx(real["reserved"], rel=1e-3)
        assert sorted(large(bytes_of(predicted["trace"]))) == sorted(large(real["events"]))


def bytes_of(trace: list[list[Any]]) -> Iterator[int]:
    return (nbytes for action, _, nbytes, _ in trace if action == "alloc")


def large(events: Any) -> Iterator[int]:
    """The bytes of requests of 1 MiB and more."""
    for event in events:
        nbytes = event[0] if isinstance(event, list) else event
        if nbytes >= 2**20:
            yield nbytes
