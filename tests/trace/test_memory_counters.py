"""`torch.cuda`'s memory functions agree with the report."""

import pytest
import torch
from torch import nn

from fakerun.analysis.memory.footprint import footprint_of
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.rank.simulation import Simulation


@pytest.mark.usefixtures("no_workspaces")
def test_counters_are_those_of_the_timeline(simulation: Simulation) -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3)).cuda()
    optimizer = torch.optim.AdamW(model.parameters())
    peaks = []
    for _ in range(3):
        torch.cuda.reset_peak_memory_stats()
        model(torch.ones(8, 64, device="cuda")).sum().backward()
        peak_before_step = torch.cuda.max_memory_allocated()
        optimizer.step()
        peaks.append(max(peak_before_step, torch.cuda.max_memory_allocated()))
        optimizer.zero_grad()
        footprint = footprint_of(timeline_of(simulation.record(None).program))
        assert footprint.final_bytes == torch.cuda.memory_allocated()
    assert footprint.per_step_peak_bytes[1:] == tuple(peaks[1:])
    assert footprint.peak_bytes == max(peaks)
    assert torch.cuda.memory_stats()["allocated_bytes.all.current"] == footprint.final_bytes
