"""Allocated peaks of every kind of training against real runs under torchrun with gloo, seen by a tracker of its own.

Compared is what tensors hold, so without what kernels take while they run: the peak in the optimizer's steps, and that of all the rest.
Programs run on CPUs there and on simulated GPUs here. What is left between them: attention on a GPU keeps the state of the random numbers
(1 KiB each), layer norms of half types keep their statistics in float32, the mesh of ranks (512 bytes) is on the host.
"""

import json
import runpy
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram, Opcode
from tests.in_process import Simulate
from tests.oracles.programs import installed_torch
from tests.oracles.storage_tracker import PROGRAM, STEPS
from tests.oracles.torchrun import torchrun_that_forks
from tests.shared_results import SharedResults

pytestmark = pytest.mark.filterwarnings("ignore")

RANKS = 4
TRACKER = Path(__file__).with_name("storage_tracker.py")
WITHIN = 0.001
KINDS: Mapping[str, Any] = runpy.run_path(str(PROGRAM))
Peaks = Mapping[str, int]

NOT_ON_CPUS = {"context-parallel"} | ({"pipeline-zero-bubble-v"} if installed_torch() < (2, 13) else set())
"""Attention on CPUs has no rule for its shardings (torch 2.13). Where stages are in a V, torch 2.11 sends to itself, which gloo cannot."""

PARAMETERS = 659_200
KEPT_BY_NCCL = {"ddp-comm-hook-bf16": 2 * PARAMETERS}
"""Bytes in the optimizer's steps: NCCL keeps the bfloat16 copies of gradients that a hook of DDP made, gloo does not."""

NAMES = tuple(name for name in KINDS["KINDS"] if name not in NOT_ON_CPUS)


def size_of(kind: str) -> str:
    """A pipeline needs a layer for each of its stages."""
    return "small" if kind.startswith("pipeline") else "tiny"


def simulated_ranks(kind: str) -> Sequence[int]:
    """The stages of a pipeline differ, and how many tokens come to each rank's experts; elsewhere one rank stands for all."""
    return range(RANKS) if kind.startswith("pipeline") or kind == "moe" else (0,)


def real_peaks() -> tuple[Mapping[str, Peaks], ...]:
    """The peaks of each rank, by kind: one torchrun for all."""
    with tempfile.TemporaryDirectory() as directory:
        words = [f"{size_of(name)}:{name}" for name in NAMES]
        result = torchrun_that_forks(RANKS, str(TRACKER), directory, *words, timeout_s=600)
        assert result.returncode == 0, result.stderr
        return tuple(json.loads(Path(directory, f"rank_{rank}.json").read_text()) for rank in range(RANKS))


def peaks_of(program: DeviceProgram) -> Peaks:
    """The most that was allocated at once in the optimizer's steps, and elsewhere."""
    peaks: Counter[str] = Counter()
    allocated: list[int] = []
    total, place = 0, "elsewhere"
    for instruction in program.issued():
        if instruction.opcode is Opcode.BEGIN_PHASE:
            place = "optimizer" if tuple(Phase)[instruction.operand] is Phase.OPTIMIZER else "elsewhere"
        elif instruction.opcode is Opcode.ALLOCATE:
            allocated.append(program.blocks[instruction.operand].nbytes)
            total += allocated[-1]
            peaks[place] = max(peaks[place], total)
        elif instruction.opcode is Opcode.FREE:
            total -= allocated[-1 - instruction.operand]
    return peaks


def least(real: Iterable[Peaks]) -> Peaks:
    """Of ranks that do the same: gloo's threads let go of a tensor late on a busy machine, which adds to a peak, on some rank."""
    ranks = tuple(real)
    return {place: min(peaks[place] for peaks in ranks) for place in ranks[0]}


@pytest.mark.parametrize(("kind", "rank"), [(kind, rank) for kind in NAMES for rank in simulated_ranks(kind)])
def test_peaks_are_those_of_a_real_run(kind: str, rank: int, simulate: Simulate, shared_results: SharedResults) -> None:
    by_rank = [peaks.get(kind) for peaks in shared_results.get("peaks of real training", real_peaks)]
    simulation = simulate(rank, nproc_per_node=KINDS["KINDS"][kind].world_size)
    KINDS["train"](kind, size_of(kind), STEPS)
    ours = peaks_of(simulation.record(None).program)
    compared = [by_rank[rank]] if len(simulated_ranks(kind)) > 1 else by_rank
    kept = Counter(optimizer=KEPT_BY_NCCL.get(kind, 0))
    assert ours == pytest.approx(Counter(least(filter(None, compared))) + kept, rel=WITHIN)
