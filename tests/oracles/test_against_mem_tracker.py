"""Peak memory against torch's own MemTracker, on the same training function: real CPU tensors there, a simulated GPU here."""

import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed._tools.mem_tracker import MemTracker  # the oracle; its module is private, it is the documented tool

from fakerun.analysis.memory import footprint_of
from fakerun.job.hardware import hardware_named
from fakerun.job.spec import JobSpec
from fakerun.rank.simulation import Simulation

LLAMA3 = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "llama3.py"))


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training run. `foreach` is set because its default differs between CPU and GPU; bf16 because fp32 attention does."""

    id: str
    batch: int
    sequence: int
    optimizer: Callable[..., torch.optim.Optimizer]
    options: Mapping[str, Any]
    dtype: torch.dtype


CASES = (
    Case(id="peak-in-optimizer", batch=2, sequence=64, optimizer=torch.optim.AdamW, options={"foreach": True}, dtype=torch.float32),
    Case(
        id="peak-in-backward", batch=8, sequence=256, optimizer=torch.optim.SGD, options={"foreach": True, "lr": 0.1}, dtype=torch.bfloat16
    ),
    Case(id="one-by-one", batch=4, sequence=64, optimizer=torch.optim.AdamW, options={"foreach": False}, dtype=torch.bfloat16),
)


def train(case: Case, device: str, tracker: MemTracker | None = None) -> None:
    """Two steps, as a script would take them."""
    shape = LLAMA3["SHAPES"]["small"]
    model = LLAMA3["Llama3"](shape, case.sequence)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(case.dtype)
    model.to(device)
    optimizer = case.optimizer(model.parameters(), **case.options)
    if tracker is not None:
        tracker.track_external(model, optimizer)
    for _ in range(2):
        tokens = torch.randint(shape.vocab, (case.batch, case.sequence + 1))
        inputs, labels = tokens[:, :-1].contiguous().to(device), tokens[:, 1:].contiguous().to(device)
        if tracker is not None:
            tracker.track_external(inputs, labels)
            tracker.reset_mod_stats()
        loss = LLAMA3["cross_entropy"](model(inputs), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        del loss, inputs, labels


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_peak_is_what_torchs_tracker_finds(case: Case) -> None:
    tracker = MemTracker()
    with tracker:
        train(case, "cpu", tracker)
    tracked = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    job = JobSpec(script=Path("train.py"), hardware=hardware_named("h100-80gb"), steps=3)
    with Simulation(job, 0) as simulation:
        train(case, "cuda")
        ours = footprint_of(simulation.record(None).memory).peak_bytes
    # The tracker does not round to the allocator's 512 bytes on the CPU, and counts AdamW's step counts, which live on the host.
    assert ours == pytest.approx(tracked, rel=1e-3)
