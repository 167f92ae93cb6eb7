"""What would help on the device that needs most: for one class of ranks, where the verdict on it is not that it fits."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fakerun.analysis.memory.advice import advice_for
from fakerun.analysis.memory.advice.replication import gradient_reductions
from fakerun.analysis.memory.allocator_settings import allocator_settings
from fakerun.analysis.memory.fit import Verdict, need_fit
from fakerun.analysis.memory.need import DeviceNeed
from fakerun.job.spec import JobSpec
from fakerun.records.run import RankRecord
from fakerun.report.model import AdviceReport


def advised_device(job: JobSpec, needs: Sequence[Mapping[int, DeviceNeed]]) -> tuple[int, int] | None:
    """The device that needs most of all that do not fit: the place of its ranks' needs, and its ordinal; None if all fit."""
    places = [
        (place, ordinal)
        for place, own in enumerate(needs)
        for ordinal, need in own.items()
        if need_fit(need, job.hardware).verdict is not Verdict.FITS
    ]
    return max(places, key=lambda each: needs[each[0]][each[1]].reserved.peak_bytes, default=None)


def advice_on(job: JobSpec, record: RankRecord, ordinal: int, need: DeviceNeed) -> tuple[AdviceReport, ...]:
    """What lowers the peak of a rank on one of its devices, with the verdict that it leads to."""
    found = advice_for(
        record.program,
        allocator_settings(job, record),
        job.hardware,
        device=ordinal,
        peak_bytes=need.reserved.peak_bytes,
        variables=record.memory_variables,
        capacity_bytes=need.left_bytes(job.hardware),
        reductions=gradient_reductions(record.collectives, record.steps),
    )
    return tuple(
        AdviceReport(
            advice=each,
            fit=need_fit(
                replace(need, reserved=replace(need.reserved, peak_bytes=each.peak_reserved_bytes), runs_out=each.runs_out), job.hardware
            ),
        )
        for each in found
    )
