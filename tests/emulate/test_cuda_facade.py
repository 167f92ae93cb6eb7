"""What `torch.cuda` answers."""

import pytest
import torch

from tests.emulate.conftest import Simulate


@pytest.mark.parametrize("listed", ["", "0", "3,5,7"])
def test_the_devices_of_this_machine_are_not_those_of_the_job(monkeypatch: pytest.MonkeyPatch, simulate: Simulate, listed: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    simulate(nproc_per_node=8)
    assert torch.cuda.device_count() == 8


def test_a_script_may_hide_devices_from_itself(monkeypatch: pytest.MonkeyPatch, simulate: Simulate) -> None:
    simulate(nproc_per_node=8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert torch.cuda.device_count() == 2
