"""The baseline of a job from its report; and where in the program its calls and its memory are, which a baseline leaves out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from fakerun.analysis.baseline.baseline import (
    Baseline,
    Call,
    ClassBaseline,
    DeviceProfile,
    GroupVolume,
    JobLine,
    ModuleMemory,
    Part,
    Schedule,
)
from fakerun.analysis.baseline.folding import folded
from fakerun.analysis.baseline.places import Places
from fakerun.analysis.memory.breakdown import by_category, module_pattern, rolled_up
from fakerun.analysis.memory.timeline import MemoryTimeline, timeline_of
from fakerun.call_site import CallSite
from fakerun.records.collective import CollectiveRecord, Phase
from fakerun.records.memory import Category, MemoryBlock
from fakerun.records.run import RankRecord
from fakerun.report.model import ClassReport, DeviceMemory, RankReport, Report
from fakerun.units import format_ranks

_MODULE_DEPTH = 1
"""Names below a layer that are told apart: `layers.*.attention`, but not `layers.*.attention.wq`."""

OUTSIDE_MODULES = "outside modules"
ROOT_MODULE = "root module"
OTHERS = "other modules"

_LEAST_SHARE = 0.001
"""Of the peak: modules with less are one row, else norms would be half of the rows."""


def baseline_of(report: Report) -> Baseline:
    """What a baseline says of the job. The same job gives an equal one."""
    ranks = {rank.record.rank: rank for rank in report.ranks}
    return Baseline(job=_job_line(report), classes=tuple(_class_baseline(report, each, ranks) for each in report.classes))


def _job_line(report: Report) -> JobLine:
    job = report.job
    return JobLine(
        program=" ".join((job.program, *job.args)),
        ranks=f"{job.world_size} ({job.nnodes} node{'s' * (job.nnodes > 1)} x {job.nproc_per_node})",
        hardware=str(job.hardware),
        mesh=str(report.mesh or "none"),
        steps=str(report.steps_completed[1]),
        made_with=f"fakerun {report.fakerun_version}, torch {report.torch_version or 'unknown'}",
    )


def class_name(ranks: Sequence[int], mesh_box: str | None) -> str:
    """The box of the mesh that the ranks fill; `part of` one with their number; a list of ranks without a mesh."""
    if mesh_box is None:
        return format_ranks(ranks)
    return f"{mesh_box} ({len(ranks)} ranks)" if mesh_box.startswith("part of") else mesh_box


def _class_baseline(report: Report, each: ClassReport, ranks: Mapping[int, RankReport]) -> ClassBaseline:
    example = each.example
    members = [ranks[rank] for rank in each.simulated]
    return ClassBaseline(
        ranks=class_name(each.ranks, each.mesh_box),
        count=len(each.ranks),
        ended=_ended(example.record),
        schedule=schedule_of(_placed_calls(example.record), example.record.steps),
        traffic=_traffic(example),
        devices=_devices(members, report.job.nproc_per_node),
    )


def _ended(record: RankRecord) -> str:
    if record.failure is not None:
        return f"failed: {record.failure.exception or record.failure.kind.value}"
    return "blocked" if record.blocked is not None else ""


# -- what is communicated ------------------------------------------------------------------------------------------------------------------


def call_of(record: CollectiveRecord, rank: int) -> Call:
    """The call as a baseline has it; `rank` is the one that issues it."""
    ranks = record.group_ranks
    own = ranks.index(rank) if rank in ranks else 0
    return Call(
        op=record.op.value,
        reduce_op=record.reduce_op,
        dtype=record.dtype,
        nbytes=record.nbytes,
        group=record.group,
        group_size=len(ranks),
        peer=None if record.peer is None else (ranks.index(record.peer) - own) % len(ranks),
        root=None if record.root is None else ranks.index(record.root),
        phase=record.phase,
        module=module_pattern(record.module),
        function=None if record.call_site is None else record.call_site.function,
    )


def _placed_calls(record: RankRecord) -> Iterator[tuple[int, Call]]:
    """Each call with its step."""
    return ((collective.step, call_of(collective, record.rank)) for collective in record.collectives)


def schedule_of(placed: Iterable[tuple[int, Call]], completed_steps: int) -> Schedule:
    """The calls by part. What comes before the first step is told apart if the rest of the first step is the last step."""
    steps: list[list[Call]] = [[] for _ in range(completed_steps + 1)]
    for step, call in placed:
        steps[min(step, completed_steps)].append(call)
    *completed, after = map(tuple, steps)
    parts: dict[str, tuple[Call, ...]] = {}
    if len(completed) > 1 and len(completed[0]) > len(completed[-1]) and _ends_with(completed[0], completed[-1]):
        parts["before the first step"] = completed[0][: len(completed[0]) - len(completed[-1])]
        completed[0] = completed[-1]
    if completed:
        parts |= _by_step(completed)
    parts["after the last step" if completed else "no step completed"] = after
    return Schedule(tuple(Part(name, folded(calls)) for name, calls in parts.items() if calls))


def _ends_with(calls: Sequence[Call], end: Sequence[Call]) -> bool:
    return tuple(calls[len(calls) - len(end) :]) == tuple(end)


def _by_step(completed: Sequence[tuple[Call, ...]]) -> dict[str, tuple[Call, ...]]:
    """`each step` if all are equal, `first step` and `later steps` where that one differs; else each distinct step with its numbers."""
    numbers: dict[tuple[Call, ...], list[int]] = {}
    for number, calls in enumerate(completed):
        numbers.setdefault(calls, []).append(number)
    if len(numbers) == 1:
        return {"each step": completed[0]}
    if len(numbers) == 2 and numbers[completed[0]] == [0]:
        return {"first step": completed[0], "later steps": completed[-1]}
    return {f"step{'s' * (len(steps) > 1)} {format_ranks(steps)}": calls for calls, steps in numbers.items()}


def _traffic(rank: RankReport) -> Mapping[str, GroupVolume]:
    """By group, of the last completed step; groups of one name are added."""
    found: dict[str, GroupVolume] = {}
    for group in rank.traffic.groups:
        volume = group.volumes.per_step[-1] if group.volumes.per_step else group.volumes.after
        if not volume.calls:
            continue
        name = f"{group.group or 'no name'} ({group.group_size})"
        known = found.get(name, GroupVolume(calls=0, nbytes=0, bus_bytes=0, inter_node_bytes=0))
        found[name] = GroupVolume(
            calls=known.calls + volume.calls,
            nbytes=known.nbytes + volume.nbytes,
            bus_bytes=known.bus_bytes + volume.bus_bytes,
            inter_node_bytes=known.inter_node_bytes + volume.inter_node_bytes,
        )
    return MappingProxyType(dict(sorted(found.items())))


# -- memory --------------------------------------------------------------------------------------------------------------------------------


def _devices(members: Sequence[RankReport], ranks_per_node: int) -> Mapping[str, DeviceProfile]:
    """The devices of the first member, named for what all members have in common."""
    example = members[0]
    timeline = timeline_of(example.record.program)
    found = {}
    for at, device in enumerate(example.devices):
        if device.footprint.peak_block is not None:
            indices = [(member.record.rank % ranks_per_node, member.devices[at].cuda_index) for member in members]
            found[device_name(indices)] = _profile(device, timeline, ordinal=device.footprint.peak_block.device)
    return MappingProxyType(found)


def device_name(indices: Sequence[tuple[int, int | None]]) -> str:
    """`cuda:LOCAL_RANK` where that is the device of every rank; `indices` has the local rank and the device of each."""
    if all(local_rank == index for local_rank, index in indices):
        return "cuda:LOCAL_RANK"
    return f"cuda:{format_ranks(index for _, index in indices if index is not None)}"


def _profile(device: DeviceMemory, timeline: MemoryTimeline, *, ordinal: int) -> DeviceProfile:
    footprint = device.footprint
    return DeviceProfile(
        allocated=footprint.peak_bytes,
        reserved=device.reserved.peak_bytes,
        peak=_peak(footprint.peak_block),
        categories=MappingProxyType({category: nbytes for category, nbytes in device.categories.items() if nbytes}),
        modules=_modules(footprint.alive_at_peak),
        recomputed=MappingProxyType(dict(sorted(_recomputed(timeline, ordinal).items()))),
    )


def _peak(block: MemoryBlock | None) -> str:
    """`backward of layers.*.feed_forward`."""
    if block is None:
        return ""
    module = module_pattern(rolled_up(block.module, depth=_MODULE_DEPTH))
    return f"{block.phase}{f' of {module}' if module else ''}"


def module_name(module: str | None) -> str:
    """The row of a baseline that the blocks of a module are counted in."""
    name = module_pattern(rolled_up(module, depth=_MODULE_DEPTH))
    return OUTSIDE_MODULES if name is None else name or ROOT_MODULE


def _modules(blocks: Sequence[MemoryBlock]) -> Mapping[str, ModuleMemory]:
    """By module, in order of names; those that are nearly nothing are one row, the last."""
    of_row: dict[str, list[MemoryBlock]] = {}
    for block in blocks:
        of_row.setdefault(module_name(block.module), []).append(block)
    least = _LEAST_SHARE * sum(block.nbytes for block in blocks)
    small = [row for row, own in of_row.items() if sum(block.nbytes for block in own) < least]
    rest = [block for row in small for block in of_row.pop(row)]
    rows = {row: _module_memory(of_row[row]) for row in sorted(of_row)}
    return MappingProxyType(rows | ({OTHERS: _module_memory(rest)} if rest else {}))


def _module_memory(blocks: Sequence[MemoryBlock]) -> ModuleMemory:
    names = {rolled_up(block.module, depth=_MODULE_DEPTH) for block in blocks}
    categories = {category: nbytes for category, nbytes in by_category(blocks).items() if nbytes}
    return ModuleMemory(instances=len(names), categories=MappingProxyType(categories))


def _recomputed(timeline: MemoryTimeline, device: int) -> dict[str, int]:
    """By layer, the activations that are allocated in backward in the last completed step."""
    ends = timeline.step_ends
    start, end = (ends[-2] if len(ends) > 1 else 0, ends[-1]) if ends else (0, len(timeline.events))
    found: dict[str, int] = {}
    for event in timeline.events[start:end]:
        block = timeline.blocks[event] if event >= 0 else None
        if block and block.device == device and block.category is Category.ACTIVATION and block.phase is Phase.BACKWARD:
            layer = module_pattern(rolled_up(block.module)) or ROOT_MODULE
            found[layer] = found.get(layer, 0) + block.nbytes
    return found


# -- places --------------------------------------------------------------------------------------------------------------------------------


def places_of(report: Report) -> Places:
    """Where the simulated ranks issue their calls and allocate their memory; the first class that has something goes first."""
    calls: dict[Call, CallSite] = {}
    functions: dict[str, CallSite] = {}
    memory: dict[tuple[str, Category], CallSite] = {}
    devices: dict[str, CallSite] = {}
    made: dict[str, CallSite] = {}
    ranks = {rank.record.rank: rank for rank in report.ranks}
    for each in report.classes:
        record = each.example.record
        for collective in record.collectives:
            if (site := collective.call_site) is not None:
                call = call_of(collective, record.rank)
                calls.setdefault(call.same, site)
                functions.setdefault(call.function or "", site)
        for device in each.example.devices:
            memory = _sites(device.footprint.alive_at_peak) | memory
        named = _devices([ranks[rank] for rank in each.simulated], report.job.nproc_per_node)
        first = next((block.call_site for block in record.program.blocks if block.call_site is not None), None)
        if first is not None:
            devices |= {name: first for name in named if name not in devices}
        made = _made(record) | made
    return Places(
        calls=calls,
        functions=functions,
        memory=memory,
        made=made,
        devices=devices,
        mesh=_mesh_site(report),
    )


def _sites(blocks: Iterable[MemoryBlock]) -> dict[tuple[str, Category], CallSite]:
    """By module and category, the line that allocated most of it."""
    sizes: dict[tuple[str, Category], dict[CallSite, int]] = {}
    for block in blocks:
        if block.call_site is not None:
            of_row = sizes.setdefault((module_name(block.module), block.category), {})
            of_row[block.call_site] = of_row.get(block.call_site, 0) + block.nbytes
    return {key: max(of_row, key=lambda site, of_row=of_row: of_row[site]) for key, of_row in sizes.items()}  # type: ignore[misc]


def _made(record: RankRecord) -> dict[str, CallSite]:
    """By module, the line that made its largest parameter.

    FSDP shards a parameter into a block of its own; the block that it had before belongs to no module yet. It is one of a multiple of the
    shard's rows; where several lines made such blocks, that of the shard is named.
    """
    parameters = [block for block in record.program.blocks if block.category is Category.PARAMETER and block.call_site is not None]
    whole = [block for block in parameters if block.module is None]
    largest: dict[str, MemoryBlock] = {}
    for block in parameters:
        row = module_name(block.module)
        if block.module is not None and block.nbytes > (largest[row].nbytes if row in largest else 0):
            largest[row] = block
    found: dict[str, CallSite] = {}
    for row, block in largest.items():
        lines = {each.call_site for each in whole if _is_whole(each.shape, block.shape)}
        site = lines.pop() if len(lines) == 1 else block.call_site
        if site is not None:
            found[row] = site
    return found


def _is_whole(shape: tuple[int, ...], shard: tuple[int, ...]) -> bool:
    return bool(shape and shard) and shape[1:] == shard[1:] and shard[0] > 0 and shape[0] % shard[0] == 0


def _mesh_site(report: Report) -> CallSite | None:
    """Where groups of fewer ranks than the job has are created first."""
    creations = (creation for rank in report.ranks for creation in rank.record.group_creations)
    return next((each.call_site for each in creations if each.count > 1 or len(each.ranks) < report.job.world_size), None)
