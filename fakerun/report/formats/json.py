"""The report as JSON, schema version 2: the interface for programs. The same job gives the same bytes.

Keys come in the order written here. No time, host or path of the run directory is in it. Within a schema version keys may be
added; none is removed and none changes its meaning. `peak_reserved_bytes` is null until reserved memory is estimated.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from fakerun.call_site import CallSite
from fakerun.job.spec import JobSpec
from fakerun.records.collective import CollectiveRecord
from fakerun.records.findings import Finding
from fakerun.records.run import ProcessFailure
from fakerun.report.model import RankReport, Report

SCHEMA_VERSION = 2

_LARGEST_TENSORS = 20


def render(report: Report, /, *, trace: bool = False, color: bool = False, width: int | None = None) -> str:
    """The whole report, one collective call, module, tensor group and finding a line; with every call, whatever `trace` says."""
    return "".join(_lines(as_dict(report), "")) + "\n"


def as_dict(report: Report) -> dict[str, Any]:
    """The JSON document as plain Python data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "fakerun_version": report.fakerun_version,
        "torch_version": report.torch_version,
        "job": _job(report.job, dict(report.mesh)),
        "ranks": [_rank(rank) for rank in report.ranks],
        "classes": [{"simulated": list(each.simulated), "assumed": list(each.assumed)} for each in report.classes],
        "findings": [_finding(finding) for finding in report.findings],
    }


def _job(job: JobSpec, mesh: dict[str, int]) -> dict[str, Any]:
    return {
        "script": None if job.script is None else str(job.script),
        "module": job.module,
        "args": list(job.args),
        "world_size": job.world_size,
        "nnodes": job.nnodes,
        "nproc_per_node": job.nproc_per_node,
        "mesh": mesh,
        "hardware": job.hardware.name,
        "steps": job.steps,
        "routing": job.routing.value,
        "error_on_collective": [op.value for op in job.error_on_collective],
    }


def _rank(rank: RankReport) -> dict[str, Any]:
    record = rank.record
    return {
        "rank": record.rank,
        "coordinate": dict(rank.coordinate),
        "status": "ok" if record.failure is None else "failed",
        "steps": record.steps,
        "collectives": [_collective(collective, record.devices) for collective in record.collectives],
        "memory": _memory(rank),
        "failure": None if record.failure is None else _failure(record.failure),
    }


def _collective(record: CollectiveRecord, devices: Sequence[int]) -> dict[str, Any]:
    return {
        "seq": record.seq,
        "step": record.step,
        "phase": record.phase.value,
        "op": record.op.value,
        "group": record.group,
        "group_size": record.group_size,
        "group_ranks": list(record.group_ranks),
        "dtype": record.dtype,
        "input_sizes": [list(size) for size in record.input_sizes],
        "output_sizes": [list(size) for size in record.output_sizes],
        "nbytes": record.nbytes,
        "bus_bytes": record.bus_bytes,
        "reduce_op": record.reduce_op,
        "root": record.root,
        "peer": record.peer,
        "is_async": record.is_async,
        "waited": record.waited,
        "module": record.module,
        "call_site": _call_site(record.call_site),
        "device": "cpu" if record.device is None else f"cuda:{devices[record.device]}",
        "coalesced": record.coalesced,
    }


def _memory(rank: RankReport) -> dict[str, Any]:
    device = rank.largest_device
    memory, block = device.footprint, device.footprint.peak_block
    peak_at = block and {"step": block.step, "phase": block.phase.value, "module": block.module, "call_site": _call_site(block.call_site)}
    return {
        "peak_allocated_bytes": memory.peak_bytes,
        "peak_reserved_bytes": None,
        "final_allocated_bytes": memory.final_bytes,
        "usable_bytes": device.fit.usable_bytes,
        "headroom_bytes": device.fit.headroom_bytes,
        "peak_at": peak_at,
        "at_peak": {category.value: nbytes for category, nbytes in device.categories.items()},
        "per_step_peak_bytes": list(memory.per_step_peak_bytes),
        "unfinished_step_peak_bytes": memory.unfinished_step_peak_bytes,
        "modules_at_peak": [{"module": share.module, "instances": share.instances, "nbytes": share.nbytes} for share in device.modules],
        "largest_tensors_at_peak": [
            {
                "category": group.category.value,
                "module": group.module,
                "shape": list(group.shape),
                "dtype": group.dtype,
                "count": group.count,
                "nbytes": group.nbytes,
                "call_site": _call_site(group.call_site),
            }
            for group in device.tensors[:_LARGEST_TENSORS]
        ],
    }


def _call_site(site: CallSite | None) -> str | None:
    return None if site is None else str(site)


def _failure(failure: ProcessFailure) -> dict[str, Any]:
    return {
        "kind": failure.kind.value,
        "exception": failure.exception,
        "message": failure.message,
        "traceback": failure.traceback,
        "exit_code": failure.exit_code,
        "call_site": _call_site(failure.call_site),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "message": finding.message,
        "ranks": list(finding.ranks),
        "call_site": _call_site(finding.call_site),
        "hint": finding.hint,
    }


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Writes the value with one line for everything that holds no object: greppable, and a diff shows whole calls."""
    if not _holds_objects(value):
        yield json.dumps(value)
        return
    is_object = isinstance(value, dict)
    yield "{" if is_object else "["
    separator = "\n"
    for key, item in value.items() if is_object else enumerate(value):
        yield f"{separator}{indent}  "
        if is_object:
            yield f"{json.dumps(key)}: "
        yield from _lines(item, indent + "  ")
        separator = ",\n"
    yield f"\n{indent}" + ("}" if is_object else "]")


def _holds_objects(value: Any) -> bool:
    """Whether there is an object inside the value."""
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return any(isinstance(item, dict) or _holds_objects(item) for item in items)
