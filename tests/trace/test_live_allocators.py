"""The allocators that answer while the script runs hold what a replay of its record holds."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.reserved import reserved_memory
from fakerun.hardware.catalogue import hardware_named
from fakerun.job.out_of_memory import OutOfMemory
from tests.in_process import Simulate

SETTINGS = ["", "expandable_segments:True", "max_split_size_mb:64", "roundup_power2_divisions:8"]


def train(steps: int) -> list[int]:
    """FSDP on two ranks, whose streams have pools of their own. Returns the peak of what is reserved in each step."""
    model = nn.Sequential(*(nn.Linear(512, 512) for _ in range(4)), nn.LayerNorm(512)).cuda()
    for layer in model:
        fully_shard(layer)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())
    peaks = []
    for step in range(steps):
        torch.cuda.reset_peak_memory_stats()
        model(torch.zeros(4096 + 512 * step, 512, device="cuda")).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        if step == 1:
            torch.cuda.empty_cache()
        peaks.append(torch.cuda.max_memory_reserved())
    return peaks


@pytest.mark.parametrize("oom", list(OutOfMemory))
@pytest.mark.parametrize("settings", SETTINGS)
def test_answers_are_those_of_a_replay(simulate: Simulate, monkeypatch: pytest.MonkeyPatch, settings: str, oom: OutOfMemory) -> None:
    simulation = simulate(oom=oom)
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", settings)
    dist.init_process_group("nccl")
    peaks = train(4)
    record = simulation.seen()
    version: tuple[int, int] = tuple(map(int, torch.__version__.split(".")[:2]))  # type: ignore[assignment]
    replayed = reserved_memory(record.program, AllocatorSettings.parse(settings, version), hardware_named("h100-80gb"))
    assert replayed[0].peak_bytes == max(peaks)
    by_step = replayed[0].per_step_peak_bytes
    assert (by_step[0], by_step[1], by_step[3]) == (peaks[0], peaks[1], peaks[3])
    assert by_step[2] >= peaks[2], "the script empties the cache between the end of the second step and its reset of peaks"
