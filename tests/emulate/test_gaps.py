"""Gaps when they are reached: the run ends with the gap's message, or the script continues and the report has the line."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fakerun.emulate.unsupported.gaps import APIS, Gap
from fakerun.errors import EmulationGapError
from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate


def noted(simulation: Simulation) -> list[tuple[str | None, str]]:
    """Call site and message of each finding about a gap."""
    return [
        (None if finding.call_site is None else str(finding.call_site), finding.message)
        for finding in simulation.record(None).findings
        if finding.code == "not-emulated"
    ]


@pytest.mark.parametrize("gap", APIS, ids=lambda gap: gap.name)
def test_each_api_has_a_finding(gap: Gap, simulation: Simulation) -> None:
    owner: Any = sys.modules[gap.name.rpartition(".")[0]]
    api = getattr(owner, gap.name.rpartition(".")[2])
    if gap.goes_on:
        assert api() == gap.answer
        assert [message.partition(" is not emulated")[0] for _, message in noted(simulation)] == [gap.name]
    else:
        with pytest.raises(EmulationGapError, match=f"^{gap.name} is not emulated"):
            api()


def test_two_gaps_of_one_line_are_two_findings(simulation: Simulation) -> None:
    assert {"load": torch.cuda.utilization(), "heat": torch.cuda.temperature(), "power": torch.cuda.power_draw()}
    sites, messages = zip(*noted(simulation), strict=True)
    assert len(set(sites)) == 1
    assert "test_gaps.py:" in str(sites[0])
    assert len(set(messages)) == 3


def test_an_unknown_figure_of_the_device_is_a_finding(simulate: Simulate) -> None:
    simulation = simulate(hardware="h100-pcie")
    properties = torch.cuda.get_device_properties(0)
    assert properties.clock_rate > 1
    assert not noted(simulation)
    assert properties.memory_clock_rate == 1
    assert [message.partition(" is not emulated")[0] for _, message in noted(simulation)] == [
        "torch.cuda.get_device_properties().memory_clock_rate"
    ]


ENDS: list[tuple[Callable[[], Any], str]] = [
    (lambda: torch.cuda.cudart().cudaDeviceReset(), r"torch.cuda.cudart\(\).cudaDeviceReset"),
    (lambda: torch.cuda.Event(interprocess=True).ipc_handle(), "torch.cuda.Event.ipc_handle"),
]


@pytest.mark.parametrize(("act", "name"), ENDS, ids=[name for _, name in ENDS])
def test_the_run_ends(act: Callable[[], Any], name: str, simulation: Simulation) -> None:
    with pytest.raises(EmulationGapError, match=f"^{name} is not emulated: .* Skip the call in a dry run"):
        act()


def test_what_the_runtime_has_succeeds(simulation: Simulation) -> None:
    runtime = torch.cuda.cudart()
    assert runtime.cudaProfilerStart() == runtime.cudaProfilerStop() == 0
    assert runtime.cudaMemGetInfo(0) == torch.cuda.mem_get_info()
    assert not noted(simulation)
