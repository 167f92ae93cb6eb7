"""What a trace says before its events: whose it is, of which job, on which card, and that its times are estimates."""

from collections.abc import Iterable, Iterator, Mapping

from fakerun.hardware.accelerator import Accelerator
from fakerun.records.collective import CollectiveRecord
from fakerun.report.formats.trace.event import written
from fakerun.report.model import RankTimeline, Report, Timeline
from fakerun.units import format_ranks

ESTIMATED = "estimated by fakerun: nothing ran on a device"


def lines(report: Report, timeline: Timeline | None, rank: RankTimeline | None) -> Iterator[str]:
    """Each member of the outermost object on a line of its own, as HolisticTraceAnalysis looks for the rank in lines."""
    for key, value in _members(report, timeline, rank):
        yield f"  {written(key)}: {written(value)},"


def _members(report: Report, timeline: Timeline | None, rank: RankTimeline | None) -> Iterator[tuple[str, object]]:
    yield "schemaVersion", 1
    yield "deviceProperties", [device_properties(report.job.hardware, 0 if rank is None else _cuda_index(rank))]
    yield "distributedInfo", _distributed_info(report, rank)
    yield "displayTimeUnit", "ms"
    yield "baseTimeNanoseconds", 0
    yield "fakerun", _about(report, timeline, rank)


def _cuda_index(rank: RankTimeline) -> int:
    return rank.record.devices[0] if rank.record.devices else 0


def device_properties(card: Accelerator, index: int) -> Mapping[str, object]:
    """Under the names of `cudaDeviceProp` that Kineto uses, what is known of the card."""
    known = {
        "id": index,
        "name": card.device_name,
        "totalGlobalMem": card.usable_bytes,
        "computeMajor": card.compute_capability[0],
        "computeMinor": card.compute_capability[1],
        "maxThreadsPerMultiprocessor": card.threads_per_multiprocessor,
        "regsPerMultiprocessor": card.registers_per_multiprocessor,
        "warpSize": 64 if card.is_amd else 32,
        "sharedMemPerMultiprocessor": card.shared_memory_bytes,
        "numSms": card.multiprocessors,
    }
    return {key: value for key, value in known.items() if value is not None}


def _distributed_info(report: Report, rank: RankTimeline | None) -> Mapping[str, object]:
    groups = [] if rank is None else _groups(rank.record.collectives[seq] for seq in rank.calls.seqs)
    return {
        "backend": "nccl",
        "rank": 0 if rank is None else rank.representative,
        "world_size": report.job.world_size,
        "pg_count": len(groups),
        "pg_config": groups,
    }


def _groups(calls: Iterable[CollectiveRecord]) -> list[Mapping[str, object]]:
    """The process groups of these calls, in the order of their names."""
    known = {call.process_group: call for call in calls}
    return [
        {
            "pg_name": name,
            "pg_desc": call.group or "undefined",
            "backend_config": "cuda:nccl",
            "pg_size": call.group_size,
            "ranks": call.group_ranks,
        }
        for name, call in sorted(known.items(), key=lambda item: (len(item[0]), item[0]))
    ]


def _about(report: Report, timeline: Timeline | None, rank: RankTimeline | None) -> Mapping[str, object]:
    about: dict[str, object] = {
        "version": report.fakerun_version,
        "torch_version": report.torch_version,
        "times": ESTIMATED,
        "program": [report.job.program, *report.job.args],
        "hardware": str(report.job.hardware),
    }
    if timeline is not None and rank is not None:
        about["ranks"] = format_ranks(rank.ranks)
        about["step"] = timeline.step
        about["step_seconds"] = rank.seconds
        about["is_first_step"] = timeline.is_first_step
    return about
