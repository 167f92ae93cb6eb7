"""What `torch.cuda` answers."""

import pytest
import torch

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
    assert torch.cuda.current_stream() is default
    with torch.cuda.stream(side):
        with torch.cuda.stream(side):
            assert torch.cuda.current_stream() is side
        assert torch.cuda.current_stream() is side
        assert torch.cuda.default_stream() is default
    assert torch.cuda.current_stream() is default
