"""A kept run assessed on other hardware."""

import pytest

from fakerun.analysis.repricing import repriced
from fakerun.hardware.request import parse_hardware
from fakerun.records.finding_code import FindingCode
from tests.unit import records_by_hand


def note_on(hardware: str, simulated: str = "h100-80gb") -> str:
    """What is noted of a run that was simulated on one card and is judged on another."""
    job = records_by_hand.job(hardware=parse_hardware(simulated))
    judged, run = repriced(job, records_by_hand.run(), parse_hardware(hardware))
    assert judged.hardware == parse_hardware(hardware)
    (finding,) = run.findings
    assert finding.code is FindingCode.OTHER_HARDWARE
    return finding.message


def test_the_same_hardware_changes_nothing() -> None:
    job, run = records_by_hand.job(hardware=parse_hardware("l4")), records_by_hand.run()
    assert repriced(job, run, parse_hardware("L4")) == (job, run)


@pytest.mark.parametrize("hardware", ["h200", "h100-80gb,memory=94GiB"])
def test_the_same_kernels(hardware: str) -> None:
    assert note_on(hardware) == (
        f"the run was simulated on h100-80gb; torch chooses the same kernels on {hardware}; "
        "a script that reads the device's properties may act differently"
    )


@pytest.mark.parametrize(("hardware", "capability"), [("l4", "8.9"), ("mi300x", "9.4 (ROCm)")])
def test_other_kernels(hardware: str, capability: str) -> None:
    assert note_on(hardware) == (
        f"the run was simulated on h100-80gb; its kernels were chosen for compute capability 9.0, and {hardware} has {capability}: "
        "other kernels, of attention first, may need more or less memory"
    )
