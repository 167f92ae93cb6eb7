"""A kept run assessed on other hardware: its memory against that hardware's, and what of the run may differ there."""

from dataclasses import replace

from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.calibration import NO_CALIBRATION
from fakerun.job.spec import JobSpec
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RunRecord


def repriced(job: JobSpec, run: RunRecord, hardware: Accelerator) -> tuple[JobSpec, RunRecord]:
    """The job and its run with `hardware` as their hardware; both unchanged if the run was simulated on it."""
    if hardware == job.hardware:
        return job, run
    timing = replace(job.timing, calibration=NO_CALIBRATION)  # what was measured is of the hardware that the run was simulated on
    return replace(job, hardware=hardware, timing=timing), replace(run, findings=(*run.findings, _finding(job.hardware, hardware)))


def _finding(simulated: Accelerator, hardware: Accelerator) -> Finding:
    """State what may differ: torch selects kernels by vendor and compute capability, a script may read the device's properties."""
    if (simulated.vendor, simulated.compute_capability) == (hardware.vendor, hardware.compute_capability):
        differs = f"torch chooses the same kernels on {hardware}; a script that reads the device's properties may act differently"
    else:
        differs = (
            f"its kernels were chosen for compute capability {_capability(simulated)}, and {hardware} has {_capability(hardware)}: "
            "other kernels, of attention first, may need more or less memory"
        )
    return Finding(
        code=FindingCode.OTHER_HARDWARE,
        message=f"the run was simulated on {simulated}; {differs}",
        hint=f"Run it again with --hardware {hardware} to be sure.",
    )


def _capability(hardware: Accelerator) -> str:
    major, minor = hardware.compute_capability
    return f"{major}.{minor}" + (" (ROCm)" if hardware.is_amd else "")
