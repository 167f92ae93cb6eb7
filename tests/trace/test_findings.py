"""The emulation notes each finding once per call site."""

import pytest
import torch

from fakerun.rank.simulation import Simulation
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding

pytestmark = pytest.mark.filterwarnings("ignore")


def unknown_values(simulation: Simulation) -> list[Finding]:
    return [finding for finding in simulation.record(None).findings if finding.code == "unknown-value"]


def test_one_for_each_place(simulation: Simulation) -> None:
    x = torch.rand(4, device="cuda")
    for _ in range(3):
        x[0].item()
        x.sum().item(), x.mean().item()
    found = unknown_values(simulation)
    assert len(found) == 2
    first, second = (int(str(finding.call_site).rpartition(":")[2]) for finding in found)
    assert second == first + 1
    assert {finding.ranks for finding in found} == {(0,)}


def test_codes_are_kept_apart(simulation: Simulation) -> None:
    x = torch.rand(4, device="cuda")
    for message in ("first", "second"):
        simulation._trace.findings.note(FindingCode.NOT_SAVED, message)
        x[0].item()
    here = [finding for finding in simulation.record(None).findings if finding.call_site is not None]
    assert [(finding.code, finding.message[:5]) for finding in here] == [("not-saved", "first"), ("unknown-value", "the s")]
