"""The answers of `torch.cuda`."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fakerun.hardware.catalogue import known_hardware
from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate


@pytest.mark.parametrize("listed", ["", "0", "3,5,7"])
def test_the_devices_of_this_machine_are_not_those_of_the_job(monkeypatch: pytest.MonkeyPatch, simulate: Simulate, listed: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    simulate(nproc_per_node=8)
    assert torch.cuda.device_count() == 8


def test_a_script_may_hide_devices_from_itself(monkeypatch: pytest.MonkeyPatch, simulate: Simulate) -> None:
    simulate(nproc_per_node=8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert torch.cuda.device_count() == 2


def test_a_stream_entered_inside_itself_gives_the_outer_one_back(simulation: Simulation) -> None:
    default, side = torch.cuda.default_stream(), torch.cuda.Stream()
    assert torch.cuda.current_stream() == default
    with torch.cuda.stream(side):
        with torch.cuda.stream(side):
            assert torch.cuda.current_stream() == side
        assert torch.cuda.current_stream() == side
        assert torch.cuda.default_stream() == default
    assert torch.cuda.current_stream() == default


def test_every_field_of_the_device_properties(simulation: Simulation) -> None:
    properties: Any = torch.cuda.get_device_properties(1)  # torch's stubs lack the newer fields
    assert properties.L2_cache_size == 50 * 2**20
    assert properties.shared_memory_per_block_optin == 227 * 2**10
    assert properties.regs_per_multiprocessor == 65536
    assert properties.max_threads_per_block == 1024
    assert properties.uuid != torch.cuda.get_device_properties(0).uuid
    assert repr(properties).startswith("_CudaDeviceProperties(name='NVIDIA H100 80GB HBM3', major=9, minor=0, total_memory=8")
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        properties.colour  # noqa: B018


@pytest.mark.parametrize("hardware", known_hardware())
def test_every_device_has_properties(hardware: str, simulate: Simulate) -> None:
    simulate(hardware=hardware)
    properties = torch.cuda.get_device_properties(0)
    assert properties.L2_cache_size > 0
    assert properties.shared_memory_per_block <= properties.shared_memory_per_multiprocessor
    is_amd = hardware.startswith("mi")
    assert (torch.version.hip is not None, torch.version.cuda is None) == (is_amd, is_amd)
    assert properties.gcnArchName.startswith("gfx") == is_amd


def test_streams_by_their_handles(simulation: Simulation) -> None:
    stream = torch.cuda.Stream(priority=-1)
    assert torch.cuda.ExternalStream(stream.cuda_stream) == stream
    assert torch.cuda.Stream(stream_id=stream.stream_id, device_index=0, device_type=1) == stream
    assert torch.cuda.default_stream().cuda_stream == 0
    assert torch.cuda.default_stream(1) != torch.cuda.default_stream(0)
    assert len({stream, torch.cuda.Stream(), torch.cuda.default_stream()}) == 3


def test_a_profiler_sees_the_host(tmp_path: Path, simulation: Simulation) -> None:
    model = torch.nn.Linear(4, 4).cuda()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    schedule = torch.profiler.schedule(wait=0, warmup=1, active=1)
    written = torch.profiler.tensorboard_trace_handler(str(tmp_path))
    with torch.profiler.profile(
        activities=activities, schedule=schedule, on_trace_ready=written, with_stack=True, with_modules=True, profile_memory=True
    ) as profile:
        for _ in range(3):
            with torch.profiler.record_function("forward"):
                model(torch.ones(2, 4, device="cuda")).sum().backward()
            profile.step()
    assert len(list(tmp_path.iterdir())) >= 1
    with torch.profiler.profile() as whole, torch.profiler.record_function("forward"):
        model(torch.ones(2, 4, device="cuda"))
    assert "forward" in whole.key_averages().table(sort_by="cuda_time_total")
    with torch.autograd.profiler.emit_nvtx():
        model(torch.ones(2, 4, device="cuda"))
    assert "host-profile-only" in {finding.code for finding in simulation.record(None).findings}


@pytest.mark.parametrize(("hardware", "own"), [("h100-80gb", "sm_90"), ("v100-32gb", "sm_70"), ("l4", "sm_89"), ("mi300x", "gfx942")])
def test_the_build_has_kernels_for_the_device(hardware: str, own: str, simulate: Simulate) -> None:
    simulate(hardware=hardware)
    assert own in torch.cuda.get_arch_list()
