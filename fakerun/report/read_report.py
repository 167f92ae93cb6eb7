"""A report in JSON as a side of a comparison: calls and peaks; what each module holds at the peak by category is not in it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # as in json_document

from fakerun.analysis.baseline.baseline import Baseline, Call, ClassBaseline, DeviceProfile, GroupVolume, JobLine
from fakerun.analysis.baseline.places import Places
from fakerun.analysis.memory.breakdown import module_pattern
from fakerun.call_site import CallSite
from fakerun.errors import UsageError
from fakerun.mesh import Mesh
from fakerun.records.collective import Phase
from fakerun.records.memory import Category
from fakerun.report.build_baseline import class_name, device_name, schedule_of
from fakerun.report.formats.json_document import (
    CallSiteDocument,
    ClassDocument,
    CollectiveDocument,
    DeviceDocument,
    GroupTrafficDocument,
    JobDocument,
    RankDocument,
)
from fakerun.report.model import ComparedJob


class _ReadDocument(TypedDict):
    """What is read of `ReportDocument`: keys that were added to it later are not in older reports."""

    fakerun_version: str
    torch_version: str | None
    job: JobDocument
    ranks: list[RankDocument]
    classes: list[ClassDocument]


def read_report(name: str, data: bytes) -> ComparedJob:
    """The job of a report in JSON; `name` is what it is called.

    Raises:
        UsageError: it is no report of this version.
    """
    try:
        document = TypeAdapter(_ReadDocument).validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise UsageError(f"{name}: is no report of fakerun in JSON: {key or 'the file'}: {first['msg'].lower()}") from error
    return ComparedJob(name=name, baseline=_baseline(document), places=_places(document))


def _baseline(document: _ReadDocument) -> Baseline:
    job = document["job"]
    mesh = Mesh.of(job["mesh"]) if job["mesh"] else None
    ranks = {rank["rank"]: rank for rank in document["ranks"]}
    overrides = "".join(f",{key}={text}" for key, text in job["hardware_overrides"].items())
    return Baseline(
        job=JobLine(
            program=" ".join((job["script"] or f"-m {job['module']}", *job["args"])),
            ranks=f"{job['world_size']} ({job['nnodes']} node{'s' * (job['nnodes'] > 1)} x {job['nproc_per_node']})",
            hardware=f"{job['hardware']}{overrides}",
            mesh=str(mesh or "none"),
            steps=str(max((rank["steps"] for rank in document["ranks"]), default=0)),
            made_with=f"fakerun {document['fakerun_version']}, torch {document['torch_version'] or 'unknown'}",
        ),
        classes=tuple(
            _class([ranks[rank] for rank in each["simulated"]], (*each["simulated"], *each["assumed"]), mesh, job["nproc_per_node"])
            for each in document["classes"]
        ),
    )


def _class(members: Sequence[RankDocument], ranks: Sequence[int], mesh: Mesh | None, ranks_per_node: int) -> ClassBaseline:
    example, ranks = members[0], sorted(ranks)
    placed = ((each["step"], _call(each, example["rank"])) for each in example["collectives"])
    return ClassBaseline(
        ranks=class_name(ranks, None if mesh is None else mesh.box(ranks)),
        count=len(ranks),
        ended=_ended(example),
        schedule=schedule_of(placed, example["steps"]),
        traffic=_traffic(example["traffic"]),
        devices=_devices(members, ranks_per_node),
    )


def _ended(rank: RankDocument) -> str:
    failure = rank["failure"]
    if failure is not None:
        return f"failed: {failure['exception'] or failure['kind']}"
    return "blocked" if rank["blocked"] is not None else ""


def _call(call: CollectiveDocument, rank: int) -> Call:
    ranks, site = call["group_ranks"], call["call_site"]
    own = ranks.index(rank) if rank in ranks else 0
    return Call(
        op=call["op"],
        reduce_op=call["reduce_op"],
        dtype=call["dtype"],
        nbytes=call["nbytes"],
        group=call["group"],
        group_size=len(ranks),
        peer=None if call["peer"] is None else (ranks.index(call["peer"]) - own) % len(ranks),
        root=None if call["root"] is None else ranks.index(call["root"]),
        phase=Phase(call["phase"]),
        module=module_pattern(call["module"]),
        function=None if site is None else site["function"],
    )


def _traffic(groups: Sequence[GroupTrafficDocument]) -> Mapping[str, GroupVolume]:
    found: dict[str, GroupVolume] = {}
    for group in groups:
        volume = group["per_step"][-1] if group["per_step"] else group["after_steps"]
        if volume["calls"]:
            name = f"{group['group'] or 'no name'} ({group['group_size']})"
            known = found.get(name, GroupVolume(calls=0, nbytes=0, bus_bytes=0, inter_node_bytes=0))
            found[name] = GroupVolume(
                calls=known.calls + volume["calls"],
                nbytes=known.nbytes + volume["nbytes"],
                bus_bytes=known.bus_bytes + volume["bus_bytes"],
                inter_node_bytes=known.inter_node_bytes + volume["inter_node_bytes"],
            )
    return MappingProxyType(dict(sorted(found.items())))


def _devices(members: Sequence[RankDocument], ranks_per_node: int) -> Mapping[str, DeviceProfile]:
    found = {}
    for at, device in enumerate(members[0]["memory"]["devices"]):
        if device["cuda_index"] is not None:
            indices = [(member["rank"] % ranks_per_node, member["memory"]["devices"][at]["cuda_index"]) for member in members]
            found[device_name(indices)] = _device(device)
    return MappingProxyType(found)


def _device(device: DeviceDocument) -> DeviceProfile:
    at_peak = device["at_peak"]
    sizes = {category: at_peak[category.value] for category in Category}
    return DeviceProfile(
        allocated=device["peak_allocated_bytes"],
        reserved=device["peak_reserved_bytes"],
        peak="",
        categories=MappingProxyType({category: nbytes for category, nbytes in sizes.items() if nbytes}),
        modules=None,
        recomputed=None,
    )


def _places(document: _ReadDocument) -> Places:
    calls: dict[Call, CallSite] = {}
    functions: dict[str, CallSite] = {}
    for rank in document["ranks"]:
        for each in rank["collectives"]:
            if (site := each["call_site"]) is not None:
                call = _call(each, rank["rank"])
                calls.setdefault(call.same, _site(site))
                functions.setdefault(call.function or "", _site(site))
    return Places(calls=calls, functions=functions)


def _site(site: CallSiteDocument) -> CallSite:
    return CallSite(site["path"], site["line"], site["function"])
