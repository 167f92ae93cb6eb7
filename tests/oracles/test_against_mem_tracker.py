"""Peak memory against torch's own MemTracker, on the same training function: real CPU tensors there, a simulated GPU here."""

import runpy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker  # the oracle; its module is private, it is the documented tool

from fakerun.analysis.memory.footprint import footprint_of
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.hardware.catalogue import hardware_named
from fakerun.job.spec import JobSpec
from fakerun.rank.simulation import Simulation

LLAMA3 = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "llama3.py"))
SHAPE = replace(LLAMA3["SHAPES"]["small"], layers=3)

JOB = JobSpec(script=Path("train.py"), hardware=hardware_named("h100-80gb"), steps=3)


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
    model = LLAMA3["Llama3"](SHAPE, case.sequence)
    for block in (*model.layers, model):  # RMSNorm is one kernel on CUDA and several on the CPU: see below
        for name, module in list(block.named_children()):
            if isinstance(module, nn.RMSNorm):
                setattr(block, name, nn.LayerNorm(SHAPE.dim))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(case.dtype)
    model.to(device)
    optimizer = case.optimizer(model.parameters(), **case.options)
    if tracker is not None:
        tracker.track_external(model, optimizer)
    for _ in range(2):
        tokens = torch.randint(SHAPE.vocab, (case.batch, case.sequence + 1))
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
    with Simulation(JOB, 0) as simulation:
        train(case, "cuda")
        ours = footprint_of(timeline_of(simulation.record(None).program)).peak_bytes
    # The tracker does not round to the allocator's 512 bytes on the CPU, and counts AdamW's step counts, which live on the host.
    assert ours == pytest.approx(tracked, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rms_norm_differs_by_what_the_fused_kernel_does_not_keep(dtype: torch.dtype) -> None:
    """The CPU keeps intermediate results of RMSNorm for backward; CUDA's fused kernel keeps one fp32 number for each row."""
    rows, features = 512, 1024
    tensor, number_per_row = rows * features * dtype.itemsize, rows * 4
    with Simulation(JOB, 0):
        norm = nn.RMSNorm(features, device="cuda", dtype=dtype)
        inputs = torch.randn(rows, features, device="cuda", dtype=dtype, requires_grad=True)
        before = torch.cuda.memory_allocated()
        output = norm(inputs)
        ours = torch.cuda.memory_allocated() - before
    assert output.shape == (rows, features)
    assert ours == tensor + number_per_row
    on_cpu = kept_by(nn.RMSNorm(features, dtype=dtype), torch.randn(rows, features, dtype=dtype, requires_grad=True))
    if dtype is torch.float32:  # the normalised input, before the weight, and the mean of squares' root
        assert on_cpu == 2 * tensor + number_per_row
    else:  # the same in fp32, the fp32 input, and the output
        assert on_cpu >= 2 * rows * features * 4 + tensor + number_per_row


def kept_by(module: nn.Module, inputs: torch.Tensor) -> int:
    """Bytes of the output and of what autograd keeps for backward, without the inputs and parameters: real storages, counted once."""
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        note(module(inputs))
    given = {tensor.untyped_storage().data_ptr() for tensor in (inputs, *module.parameters())}
    return sum(size for address, size in kept.items() if address not in given)
