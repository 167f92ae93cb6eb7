"""The history part of a Report: replays the program of the rank to show with allocators that record what they do."""

from fakerun.analysis.memory.curve import memory_curve
from fakerun.analysis.memory.history import memory_histories
from fakerun.job.spec import JobSpec
from fakerun.report.model import DeviceMemory, RankHistory, RankReport

_COLUMNS = 420
"""Of the curve: two pixels each where it is drawn."""


def rank_history(job: JobSpec, rank: RankReport | None) -> RankHistory:
    """What the allocators of this rank did; nothing if no rank was simulated."""
    if rank is None:
        return RankHistory(devices={}, cuda_index=None, curve=None)
    record = rank.record
    histories = memory_histories(job, record, repetitions=max(map(_repetitions, rank.devices)))
    devices = {record.devices[ordinal]: history for ordinal, history in histories.items()}
    shown = rank.largest_device.cuda_index
    curve = memory_curve(devices[shown], columns=_COLUMNS) if shown in devices else None
    return RankHistory(devices=devices, cuda_index=shown if curve else None, curve=curve)


def _repetitions(device: DeviceMemory) -> int:
    """How often the last step must be repeated to come to the peak of what is reserved; where steps need no more, not at all."""
    reserved = device.need.reserved
    after = (reserved.peak_step or 0) + 1 - len(reserved.per_step_peak_bytes)
    return min(max(0, after), len(reserved.repeated_step_peak_bytes))
