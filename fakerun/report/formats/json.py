"""The report as JSON: the interface for programs. The same job gives the same bytes.

Keys and their order are those of `json_document`. No time, host or path of the run directory is in it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from fakerun.call_site import CallSite
from fakerun.records.collective import CollectiveRecord
from fakerun.records.device_program import PoolKind
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.run import Blocked, ProcessFailure
from fakerun.report.formats.json_document import (
    SCHEMA_VERSION,
    AdviceDocument,
    AxisTimeDocument,
    BlockedDocument,
    CallSiteDocument,
    CategoriesDocument,
    CheckDocument,
    CheckStatus,
    CollectiveDocument,
    DeviceDocument,
    FailureDocument,
    FindingDocument,
    GroupTrafficDocument,
    JobDocument,
    MemoryDocument,
    ModuleDocument,
    NodeDeviceDocument,
    PathDocument,
    PeakDocument,
    PoolDocument,
    PrivatePoolDocument,
    PublishedErrorDocument,
    RankDocument,
    ReportDocument,
    StepTimeDocument,
    TensorsDocument,
    VolumeDocument,
)
from fakerun.report.model import (
    CONVENTION,
    AdviceReport,
    AxisTime,
    Check,
    DeviceMemory,
    GroupTraffic,
    NoEstimate,
    PathEntry,
    PhysicalDeviceReport,
    PoolMemory,
    PublishedError,
    RankReport,
    Report,
    StepEstimate,
    Volume,
)
from fakerun.report.page.detail import SHORT, Detail

Kind = TypeVar("Kind", bound=StrEnum)

_LARGEST_TENSORS = 20


def render(report: Report, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> str:
    """The whole report, one collective call, module, tensor group and finding a line; always with every call."""
    return document_text(as_document(report, detail))


def document_text(document: Mapping[str, Any]) -> str:
    """A document as text, one line for everything that holds nothing nested but call sites: a diff shows whole calls."""
    return "".join(_lines(document, "")) + "\n"


def as_document(report: Report, detail: Detail = SHORT) -> ReportDocument:
    """The JSON document as plain Python data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "fakerun_version": report.fakerun_version,
        "torch_version": report.torch_version,
        "job": job_document(report),
        "ranks": [_rank(rank, detail) for rank in report.ranks],
        "classes": [{"simulated": list(each.simulated), "assumed": list(each.assumed)} for each in report.classes],
        "devices": [_node_device(each) for each in report.devices],
        "findings": [finding_document(finding) for finding in report.findings],
        "ignored_findings": [{"code": code.value, "count": count} for code, count in report.ignored_findings.items()],
        "checks": list(map(check_document, report.checks)),
        "exit_code": int(report.exit_code),
        "step_time": None if isinstance(report.step_time, NoEstimate) else step_time_document(report.step_time),
        "step_time_unknown": report.step_time.reason if isinstance(report.step_time, NoEstimate) else "",
    }


def job_document(report: Report) -> JobDocument:
    """What was asked for."""
    job = report.job
    return {
        "script": None if job.script is None else str(job.script),
        "module": job.module,
        "args": list(job.args),
        "world_size": job.world_size,
        "nnodes": job.nnodes,
        "nproc_per_node": job.nproc_per_node,
        "mesh": {} if report.mesh is None else report.mesh.by_axis(report.mesh.sizes),
        "hardware": job.hardware.name,
        "hardware_overrides": dict(job.hardware.overrides),
        "steps": report.steps_completed[1] if job.steps is None else job.steps,
        "routing": job.routing.value,
        "error_on_collective": [op.value for op in job.error_on_collective],
        "all_steps": job.steps is None,
        "launcher": job.launcher.value,
    }


def _rank(rank: RankReport, detail: Detail) -> RankDocument:
    record = rank.record
    return {
        "rank": record.rank,
        "coordinate": dict(rank.coordinate),
        "status": "blocked" if record.blocked is not None else "ok" if record.failure is None else "failed",
        "steps": record.steps,
        "collectives": [_collective(collective, record.devices) for collective in record.collectives],
        "traffic": [_group_traffic(group) for group in rank.traffic.groups],
        "memory": _memory(rank, detail),
        "failure": None if record.failure is None else failure_document(record.failure),
        "blocked": None if record.blocked is None else blocked_document(record.blocked),
        "stopped_at": None if record.stopped_at is None else _call_site(record.stopped_at),
        "exited_at": None if record.exited_at is None else _call_site(record.exited_at),
    }


def _collective(record: CollectiveRecord, devices: Sequence[int]) -> CollectiveDocument:
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


def _group_traffic(group: GroupTraffic) -> GroupTrafficDocument:
    return {
        "group": group.group,
        "group_size": group.group_size,
        "group_ranks": list(group.group_ranks),
        "per_step": [_volume(volume) for volume in group.volumes.per_step],
        "after_steps": _volume(group.volumes.after),
    }


def _volume(volume: Volume) -> VolumeDocument:
    return {
        "calls": volume.calls,
        "nbytes": volume.nbytes,
        "bus_bytes": volume.bus_bytes,
        "intra_node_bytes": volume.intra_node_bytes,
        "inter_node_bytes": volume.inter_node_bytes,
    }


def _memory(rank: RankReport, detail: Detail) -> MemoryDocument:
    device = rank.largest_device
    footprint = device.footprint
    return {
        "peak_allocated_bytes": footprint.peak_bytes,
        "peak_reserved_bytes": device.reserved.peak_bytes,
        "final_allocated_bytes": footprint.final_bytes,
        "usable_bytes": device.fit.usable_bytes,
        "headroom_bytes": device.fit.headroom_bytes,
        "verdict": device.fit.verdict.value,
        "peak_at": _peak(device),
        "at_peak": _categories(device),
        "per_step_peak_bytes": list(footprint.per_step_peak_bytes),
        "unfinished_step_peak_bytes": footprint.unfinished_step_peak_bytes,
        "modules_at_peak": _modules(device),
        "largest_tensors_at_peak": _tensors(device, _LARGEST_TENSORS if detail.tensors is None else detail.tensors),
        "devices": [_device(each) for each in rank.devices],
    }


def _peak(device: DeviceMemory) -> PeakDocument | None:
    block, step = device.footprint.peak_block, device.footprint.peak_step
    if block is None or step is None:
        return None
    return {"step": step, "phase": block.phase.value, "module": block.module, "call_site": _call_site(block.call_site)}


def _categories(device: DeviceMemory) -> CategoriesDocument:
    at_peak = device.categories
    return {
        "parameter": at_peak[Category.PARAMETER],
        "buffer": at_peak[Category.BUFFER],
        "gradient": at_peak[Category.GRADIENT],
        "optimizer_state": at_peak[Category.OPTIMIZER_STATE],
        "activation": at_peak[Category.ACTIVATION],
        "communication": at_peak[Category.COMMUNICATION],
        "input": at_peak[Category.INPUT],
        "temporary": at_peak[Category.TEMPORARY],
    }


def _modules(device: DeviceMemory) -> list[ModuleDocument]:
    return [{"module": share.module, "instances": share.instances, "nbytes": share.nbytes} for share in device.modules]


def _tensors(device: DeviceMemory, shown: int) -> list[TensorsDocument]:
    return [
        {
            "category": group.category.value,
            "module": group.module,
            "shape": list(group.shape),
            "dtype": group.dtype,
            "count": group.count,
            "nbytes": group.nbytes,
            "call_site": _call_site(group.call_site),
        }
        for group in device.tensors[:shown]
    ]


def _device(device: DeviceMemory) -> DeviceDocument:
    return {
        "cuda_index": device.cuda_index,
        "peak_allocated_bytes": device.footprint.peak_bytes,
        "peak_reserved_bytes": device.reserved.peak_bytes,
        "final_allocated_bytes": device.footprint.final_bytes,
        "usable_bytes": device.fit.usable_bytes,
        "headroom_bytes": device.fit.headroom_bytes,
        "verdict": device.fit.verdict.value,
        "outside_low_bytes": device.fit.outside_low_bytes,
        "outside_high_bytes": device.fit.outside_high_bytes,
        "outside": [
            {"what": each.what, "low_bytes": each.low_bytes, "high_bytes": each.high_bytes, "source": each.source}
            for each in device.need.outside
        ],
        "not_included": [
            {"what": each.gap.what, "why": each.gap.why, "bound": each.gap.bound, "high_bytes": each.most_bytes}
            for each in device.need.not_included
        ],
        "allocator_settings": device.need.settings,
        "reserved_has_settled": device.reserved.has_settled,
        "per_step_peak_reserved_bytes": list(device.reserved.per_step_peak_bytes),
        "repeated_step_peak_reserved_bytes": list(device.reserved.repeated_step_peak_bytes),
        "pools_at_peak": list(map(_pool, device.reserved.pools_at_peak)),
        "at_peak": _categories(device),
        "per_step_peak_bytes": list(device.footprint.per_step_peak_bytes),
        "unfinished_step_peak_bytes": device.footprint.unfinished_step_peak_bytes,
        "advice": list(map(_advice, device.advice)),
    }


def _advice(report: AdviceReport) -> AdviceDocument:
    advice = report.advice
    return {
        "what": advice.what,
        "how": advice.how,
        "saved_bytes": advice.saved_bytes,
        "peak_reserved_bytes": advice.peak_reserved_bytes,
        "verdict": report.fit.verdict.value,
    }


def _pool(pool: PoolMemory) -> PoolDocument:
    stream = pool.stream
    return {
        "stream": None if stream.index is None else stream.index,
        "priority": stream.priority,
        "pool": "small" if pool.is_small else "large",
        "private_pool": None if pool.private is None else _private_pool(pool.private, pool.pool_id),
        "reserved_bytes": pool.reserved_bytes,
        "allocated_bytes": pool.allocated_bytes,
        "largest_free_bytes": pool.largest_free_bytes,
    }


def _private_pool(kind: PoolKind, identity: tuple[int, int]) -> PrivatePoolDocument:
    return {"id": list(identity), "made_by": kind.origin.value, "call_site": _call_site(kind.call_site)}


def _node_device(report: PhysicalDeviceReport) -> NodeDeviceDocument:
    device, fit = report.device, report.fit
    return {
        "node": device.node,
        "cuda_index": device.cuda_index,
        "peak_allocated_bytes": device.peak_allocated_bytes,
        "peak_reserved_bytes": fit.peak_bytes,
        "usable_bytes": fit.usable_bytes,
        "headroom_bytes": fit.headroom_bytes,
        "verdict": fit.verdict.value,
        "outside_low_bytes": fit.outside_low_bytes,
        "outside_high_bytes": fit.outside_high_bytes,
        "not_included_high_bytes": fit.not_included_bytes,
        "contributions": [
            {"ranks": list(each.ranks), "peak_allocated_bytes": each.allocated_bytes, "peak_reserved_bytes": each.reserved_bytes}
            for each in device.ranks_by_peak
        ],
        "ranks_not_counted": list(device.uncounted),
    }


def step_time_document(estimate: StepEstimate) -> StepTimeDocument:
    """The time of a step."""
    summed, used, published = estimate.summed, estimate.utilisation, estimate.published
    slowest = summed.slowest
    return {
        "seconds": estimate.seconds,
        "without": estimate.without or None,
        "low_s": estimate.low_s,
        "high_s": estimate.high_s,
        "summed_s": summed.seconds,
        "correction": estimate.correction.value,
        "explained": estimate.explained,
        "published": None if published is None else _published(published),
        "step": summed.step,
        "mfu": used.mfu,
        "hfu": used.hfu,
        "utilisation_convention": CONVENTION,
        "model_flops": used.flops.model,
        "executed_flops": used.flops.executed,
        "peak_dtype": used.peak_dtype,
        "tokens_per_step": used.tokens.count,
        "tokens_origin": used.tokens.origin,
        "tokens_per_s": used.tokens_per_s,
        "tokens_per_s_per_device": used.tokens_per_s_per_device,
        "slowest_ranks": list(slowest.ranks),
        "kinds_s": _seconds(slowest.kinds),
        "kernels_s": _seconds(slowest.kernel_s),
        "modules_s": {each.module or "": each.seconds for each in estimate.modules},
        "communication": [_axis_time(axis, summed.gains_s.get(axis.label)) for axis in slowest.communication],
        "kernel_basis_s": _seconds(slowest.basis_s),
        "communication_basis_s": _seconds(slowest.call_basis_s),
        "critical_path": list(map(_path, estimate.path)),
        "remarks": list(estimate.remarks),
    }


def _seconds(by_kind: Mapping[Kind, float]) -> dict[str, float]:
    return {kind.value: seconds for kind, seconds in by_kind.items()}


def _published(published: PublishedError) -> PublishedErrorDocument:
    return {"low": published.low, "high": published.high, "runs": len(published.runs), "same_generation": published.same_generation}


def _axis_time(axis: AxisTime, gain_s: float | None) -> AxisTimeDocument:
    return {
        "group": axis.label,
        "calls": axis.calls,
        "seconds": axis.seconds,
        "exposed_s": axis.exposed_s,
        "waiting_s": axis.waiting_s,
        "gain_s": gain_s,
    }


def _path(entry: PathEntry) -> PathDocument:
    return {
        "kind": entry.kind.value,
        "name": entry.name,
        "group": entry.label,
        "seconds": entry.seconds,
        "count": entry.count,
        "rank": entry.rank,
        "module": entry.module,
        "call_site": _call_site(entry.call_site),
    }


def failure_document(failure: ProcessFailure) -> FailureDocument:
    """Why a rank did not finish."""
    return {
        "kind": failure.kind.value,
        "exception": failure.exception,
        "message": failure.message,
        "traceback": failure.traceback,
        "exit_code": failure.exit_code,
        "call_site": _call_site(failure.call_site),
        "placeholder_reads": [_site(site) for site in failure.placeholder_reads],
    }


def blocked_document(blocked: Blocked) -> BlockedDocument:
    """Where a rank waits for ever."""
    return {
        "seq": blocked.call,
        "key": blocked.key,
        "waits_for": list(blocked.waits_for),
        "call_site": _call_site(blocked.call_site),
        "stack": blocked.stack,
    }


def finding_document(finding: Finding) -> FindingDocument:
    """One finding."""
    return {
        "code": finding.code.value,
        "severity": finding.severity.value,
        "message": finding.message,
        "ranks": list(finding.ranks),
        "call_site": _call_site(finding.call_site),
        "hint": finding.hint,
        "other_call_sites": [_site(site) for site in finding.other_call_sites],
    }


def check_document(check: Check) -> CheckDocument:
    """What was measured of a budget."""
    return {
        "name": check.name,
        "subject": check.subject,
        "limit": check.limit,
        "measured": check.measured,
        "status": _status(check),
        "reason": check.reason,
        "source": check.source,
    }


def _status(check: Check) -> CheckStatus:
    if check.passed:
        return "passed"
    return "ignored" if check.is_ignored else "unknown" if check.is_unknown else "failed"


def _call_site(site: CallSite | None) -> CallSiteDocument | None:
    return None if site is None else _site(site)


def _site(site: CallSite) -> CallSiteDocument:
    return {"path": site.path, "line": site.line, "function": site.function}


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Writes the value with one line for everything that holds nothing nested but call sites: a diff shows whole calls."""
    if _is_one_line(value):
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


_IN_LINE = frozenset({"call_site", "other_call_sites"})
"""Objects that stay on the line of the object that has them."""


def _is_one_line(value: Any) -> bool:
    """Whether no other object than a call site is inside the value."""
    if isinstance(value, dict):
        return not any(_holds_object(item) for key, item in value.items() if key not in _IN_LINE)
    return not _holds_object(value)


def _holds_object(value: Any) -> bool:
    """Whether the value is an object, or a list with one somewhere in it."""
    return isinstance(value, dict) or (isinstance(value, list) and any(map(_holds_object, value)))
