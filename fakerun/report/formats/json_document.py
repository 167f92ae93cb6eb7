"""The JSON report, key by key: names, types, units and meaning. `json_schema` makes the published schema of this.

Within a schema version keys are only added; none is removed, none changes its meaning or its unit, and keys come in the order
written here. Sizes in elements are those of tensors, all other sizes are bytes.
"""

from typing import Literal, TypeAlias

from typing_extensions import TypedDict  # pydantic takes no other on Python 3.11

SCHEMA_VERSION: Literal[2] = 2


class CallSiteDocument(TypedDict):
    """A line of the user's code."""

    path: str
    """The file: relative to the directory that the job was started in where it lies there, else to the script's."""
    line: int
    """The line in the file, from 1; 0 where it is not known."""
    function: str | None
    """The function that the line is in; null where it is not known."""


class JobDocument(TypedDict):
    """What was asked for."""

    script: str | None
    """The training script as it was given; null if a module was."""
    module: str | None
    """The module as it was given (`-m`); null if a script was."""
    args: list[str]
    """The script's own arguments."""
    world_size: int
    """Ranks of the job: nnodes times nproc_per_node."""
    nnodes: int
    """Nodes."""
    nproc_per_node: int
    """Ranks on each node."""
    mesh: dict[str, int]
    """Axes of the device mesh in effect, outermost first, with the number of ranks along each; empty without a mesh."""
    hardware: str
    """The accelerator's name, as in `--hardware`."""
    hardware_overrides: dict[str, str]
    """Figures of the accelerator that the job gives itself, by key, as they were written: `{"memory": "94GiB"}`."""
    steps: int
    """Optimizer steps asked for; with `all_steps`, the most that a rank completed."""
    routing: str
    """How tokens were spread over experts where the script routes by value: balanced, worst."""
    error_on_collective: list[str]
    """Operations that the script must not issue."""
    all_steps: bool
    """Whether the script was to run to its end instead of being stopped after `steps` optimizer steps."""
    launcher: str
    """Whose environment variables the ranks found: torchrun, slurm, mpi."""


class CollectiveDocument(TypedDict):
    """One collective or point-to-point call of one rank."""

    seq: int
    """Number of the call among the rank's calls, from 0."""
    step: int
    """The optimizer step that the call is in, from 0."""
    phase: Literal["forward", "backward", "optimizer", "other"]
    """What the rank was doing; `other` is all outside forward, backward and optimizer."""
    op: str
    """The operation, as torch.distributed names it."""
    group: str | None
    """The process group's name: the mesh axis, `world`, or torch's description of it; null if it has none."""
    group_size: int
    """Ranks of the group."""
    group_ranks: list[int]
    """Global ranks of the group, in group order."""
    dtype: str
    """The tensors' dtype without `torch.`; empty for a barrier."""
    input_sizes: list[list[int]]
    """Sizes of the tensors that the rank puts in, in elements."""
    output_sizes: list[list[int]]
    """Sizes of the tensors that the rank gets out, in elements."""
    nbytes: int
    """Message size as nccl-tests count it: the larger of what the rank puts in and what it gets out, in bytes."""
    bus_bytes: int
    """Bytes that cross the rank's links: nbytes times the operation's bus factor (nccl-tests), rounded down."""
    reduce_op: str | None
    """The reduction; null where the operation does not reduce."""
    root: int | None
    """Global rank of the root; null where the operation has none."""
    peer: int | None
    """Global rank at the other end of a send or recv; null for collectives."""
    is_async: bool
    """Whether the call returned before it was complete."""
    waited: bool
    """Whether the script, or torch for it, waited for the call to complete."""
    module: str | None
    """The innermost module that the call was made in; empty for the root module, null outside modules."""
    call_site: CallSiteDocument | None
    """Where the call was made; null where no line of the user's led to it."""
    device: str
    """The device that the call runs on: cuda:N (NCCL), N counted on the node, or cpu (gloo)."""
    coalesced: int | None
    """Calls of a rank with the same number were issued as one; null for a call of its own."""


class VolumeDocument(TypedDict):
    """Communication calls and their bytes."""

    calls: int
    """Number of calls."""
    nbytes: int
    """Their message sizes, in bytes."""
    bus_bytes: int
    """Their bus bytes: what crosses the rank's links."""
    intra_node_bytes: int
    """The part of `bus_bytes` that stays on the node."""
    inter_node_bytes: int
    """The part of `bus_bytes` that crosses between nodes: exact for sends between pairs, else for rings that all ranks share equally."""


class GroupTrafficDocument(TypedDict):
    """What one rank communicates on one process group."""

    group: str | None
    """The process group's name, as in `collectives`."""
    group_size: int
    """Ranks of the group."""
    group_ranks: list[int]
    """Global ranks of the group, in group order."""
    per_step: list[VolumeDocument]
    """The calls of each completed step."""
    after_steps: VolumeDocument
    """The calls after the last completed step."""


class PeakDocument(TypedDict):
    """The allocation with which the peak was reached."""

    step: int
    """The optimizer step, from 0."""
    phase: Literal["forward", "backward", "optimizer", "other"]
    """What the rank was doing."""
    module: str | None
    """The innermost module; empty for the root module, null outside modules."""
    call_site: CallSiteDocument | None
    """The line that allocated; null where no line of the user's led to it."""


class CategoriesDocument(TypedDict):
    """Allocated bytes by what they are for."""

    parameter: int
    """Parameters (the local shards), in bytes."""
    buffer: int
    """Buffers of modules, in bytes."""
    gradient: int
    """Gradients of parameters, in bytes."""
    optimizer_state: int
    """State of optimizers, in bytes."""
    activation: int
    """Made in forward with gradients enabled, recomputation included, in bytes."""
    communication: int
    """Buffers of collectives, unsharded parameters of FSDP included, in bytes."""
    input: int
    """Brought from the host or made outside modules for the model, in bytes."""
    temporary: int
    """The rest, in bytes."""


class ModuleDocument(TypedDict):
    """Bytes at the peak that one module, or several of the same pattern, allocated."""

    module: str | None
    """The module's name, with `*` for an index; empty for the root module, null outside modules."""
    instances: int
    """Modules of that pattern."""
    nbytes: int
    """Allocated bytes of all of them."""


class TensorsDocument(TypedDict):
    """Tensors allocated at the peak that differ only in the index of their layer."""

    category: str
    """What they are for: a key of at_peak."""
    module: str | None
    """The module that allocated them, with `*` for an index; empty for the root module, null outside modules."""
    shape: list[int]
    """Shape of each, in elements."""
    dtype: str
    """dtype of each, without `torch.`."""
    count: int
    """Number of tensors."""
    nbytes: int
    """Allocated bytes of all of them."""
    call_site: CallSiteDocument | None
    """The line that allocated them; null where no line of the user's led to it."""


VerdictText: TypeAlias = Literal["fits", "tight", "does-not-fit"]


class NotIncludedDocument(TypedDict):
    """One kind of request of kernels that is not included in what is reserved."""

    what: str
    """What it is, in words."""
    why: str
    """Why it is not included."""
    bound: str
    """How much it may be, and whether that was measured."""
    high_bytes: int | None
    """The most that it takes here, in bytes: of the largest operation that has it; null if that is not known."""


class OutsideDocument(TypedDict):
    """One thing that a rank's process holds on a device outside the caching allocator: an estimate."""

    what: str
    """What it is, in words."""
    low_bytes: int
    """The least that it takes, in bytes."""
    high_bytes: int
    """The most that it takes, in bytes."""
    source: str
    """What the estimate is from."""


class PrivatePoolDocument(TypedDict):
    """A memory pool of the script, or of CUDA graphs."""

    id: list[int]
    """Its two numbers, by which torch names it: `torch.cuda.MemPool.id`."""
    made_by: Literal["MemPool", "graph_pool_handle", "CUDAGraph"]
    """What made it; `CUDAGraph`: a graph that was given no pool."""
    call_site: CallSiteDocument | None
    """Where; null if no line of the program did."""


class PoolDocument(TypedDict):
    """What the allocator holds for requests of one size class on one stream."""

    stream: int | None
    """The index of the stream in the pool of streams of its priority; null for the default stream."""
    priority: int
    """The stream's priority; lower numbers go first."""
    pool: Literal["small", "large"]
    """`small`: requests of at most 1 MiB."""
    private_pool: PrivatePoolDocument | None
    """The private memory pool that it is of; null for the default one."""
    reserved_bytes: int
    """What it holds of the device, in bytes."""
    allocated_bytes: int
    """What of it is in use, in bytes."""
    largest_free_bytes: int
    """The largest range of it that is free, in bytes."""


class AdviceDocument(TypedDict):
    """A change that lowers the peak of what is reserved, by itself, replayed with the allocator."""

    what: str
    """What changes."""
    how: str
    """What to do in the program or its environment."""
    saved_bytes: int
    """How much lower the peak of what is reserved is, in bytes."""
    peak_reserved_bytes: int
    """The peak with the change, in bytes."""
    verdict: VerdictText
    """Whether the rank alone then fits."""


class DeviceDocument(TypedDict):
    """The rank's memory on one device, without what other ranks allocate there."""

    cuda_index: int | None
    """The device's CUDA index on the node; null for a rank that allocated nothing."""
    peak_allocated_bytes: int
    """The most that was allocated at one time, in bytes."""
    peak_reserved_bytes: int
    """The most that the caching allocator reserved, in bytes."""
    final_allocated_bytes: int
    """What was still allocated at the end, in bytes."""
    usable_bytes: int
    """What the device has, in bytes, as its driver reports it."""
    headroom_bytes: int
    """usable_bytes less peak_reserved_bytes and the most that is outside or not included; negative if that is too little."""
    verdict: VerdictText
    """Whether the rank alone fits. `tight`: within the ranges, or the allocator gives back what it caches, or steps keep tensors."""
    outside_low_bytes: int
    """The least that the rank's process holds outside the caching allocator, in bytes."""
    outside_high_bytes: int
    """The most that it holds there, in bytes."""
    outside: list[OutsideDocument]
    """What it holds there: the CUDA context first, then the buffers of each communicator."""
    not_included: list[NotIncludedDocument]
    """What kernels of the rank request and peak_reserved_bytes has not, because it depends on a library's choice or on values."""
    allocator_settings: str
    """Settings of the caching allocator that are not the defaults, as in PYTORCH_ALLOC_CONF."""
    reserved_has_settled: bool | None
    """Whether a repetition of the last step reserves no more than the step before; null if there is no step to repeat."""
    per_step_peak_reserved_bytes: list[int]
    """What was reserved at the peak of each completed step, in bytes."""
    repeated_step_peak_reserved_bytes: list[int]
    """The same of repetitions of the last step, which were replayed to see whether they need more, in bytes."""
    pools_at_peak: list[PoolDocument]
    """What the allocator held for each stream when most was reserved, the largest first."""
    at_peak: CategoriesDocument
    """What was allocated at the peak."""
    per_step_peak_bytes: list[int]
    """The peak of each completed step, in bytes."""
    unfinished_step_peak_bytes: int | None
    """The peak after the last completed step, in bytes; null if nothing was allocated there."""
    advice: list[AdviceDocument]
    """What would lower the peak, most first; only of the device that needs most of those that do not fit."""


class ContributionDocument(TypedDict):
    """Ranks that allocate on a device, with the same peak."""

    ranks: list[int]
    """The ranks, in order."""
    peak_allocated_bytes: int
    """What each of them allocates on the device at its peak, in bytes."""
    peak_reserved_bytes: int
    """What the allocator of each of them reserves there at its peak, in bytes."""


class NodeDeviceDocument(TypedDict):
    """A device of a node, with all ranks that allocate on it."""

    node: int
    """The number of the node: the rank divided by the ranks per node."""
    cuda_index: int
    """The device's CUDA index on the node."""
    peak_allocated_bytes: int
    """The sum of what the ranks allocate at their peaks, in bytes: of several an upper bound, as they may peak at different times."""
    peak_reserved_bytes: int
    """The sum of what their allocators reserve at the peaks, in bytes."""
    usable_bytes: int
    """What the device has, in bytes, as its driver reports it."""
    headroom_bytes: int
    """usable_bytes less peak_reserved_bytes and the most that is outside or not included; negative if that is too little."""
    verdict: VerdictText
    """Whether all of them fit."""
    outside_low_bytes: int
    """The least that their processes hold outside the caching allocators, in bytes."""
    outside_high_bytes: int
    """The most that they hold there, in bytes."""
    not_included_high_bytes: int
    """The most that is known of what kernels request and peak_reserved_bytes has not, in bytes."""
    contributions: list[ContributionDocument]
    """Who allocates what, the highest peak first."""
    ranks_not_counted: list[int]
    """Ranks of the node that were neither simulated nor assumed to match one that was: what they allocate is not known."""


class MemoryDocument(TypedDict):
    """The rank's memory on the device with its highest peak, and in `devices` on each."""

    peak_allocated_bytes: int
    """The most that was allocated at one time, in bytes; each storage is rounded up to 512 bytes, as the caching allocator does."""
    peak_reserved_bytes: int
    """The most that the caching allocator reserved, in bytes."""
    final_allocated_bytes: int
    """What was still allocated at the end, in bytes."""
    usable_bytes: int
    """What the device has, in bytes, as its driver reports it."""
    headroom_bytes: int
    """usable_bytes less peak_reserved_bytes and the most that is outside or not included; negative if that is too little."""
    verdict: VerdictText
    """Whether the rank alone fits. `tight`: within the ranges, or the allocator gives back what it caches, or steps keep tensors."""
    peak_at: PeakDocument | None
    """Where most was allocated; null if nothing was."""
    at_peak: CategoriesDocument
    """What was allocated at the peak."""
    per_step_peak_bytes: list[int]
    """The peak of each completed step, in bytes."""
    unfinished_step_peak_bytes: int | None
    """The peak after the last completed step, in bytes; null if nothing was allocated there."""
    modules_at_peak: list[ModuleDocument]
    """What was allocated at the peak by module, the largest first."""
    largest_tensors_at_peak: list[TensorsDocument]
    """The largest groups of tensors that were allocated at the peak, at most 20."""
    devices: list[DeviceDocument]
    """Each device that the rank used, in order of first use."""


class FailureDocument(TypedDict):
    """Why a rank did not finish."""

    kind: Literal["exception", "exit", "signal", "timeout", "gap", "usage", "interrupted", "internal"]
    """How it ended. `gap`: the script needs an emulation that fakerun lacks; `internal`: fakerun itself failed."""
    exception: str | None
    """Qualified name of the exception's class; null where there was none."""
    message: str
    """What the exception said, or what happened."""
    traceback: str
    """The script's traceback, from the user's file on; empty where there was none."""
    exit_code: int
    """As the shell would see it: 128 plus the number for a signal."""
    call_site: CallSiteDocument | None
    """The user's line; null where it is not known."""
    placeholder_reads: list[CallSiteDocument]
    """Lines that had read values which nobody computed: the failure may follow from them. Empty where it is known to, or none had."""


class BlockedDocument(TypedDict):
    """Where a rank waits for ever: in a call of which others never issue their part, or for a key of a store that no rank sets."""

    seq: int | None
    """The `seq` of the call; null where it waits for a key."""
    key: str | None
    """The key; null where it waits in a call."""
    waits_for: list[int]
    """The global ranks that never issue their part of the call, ascending; empty for a key."""
    call_site: CallSiteDocument | None
    """The user's line that waits; null where it is not known."""
    stack: str
    """The calls that led there, in the form of a traceback, from the user's file on."""


class RankDocument(TypedDict):
    """One simulated rank."""

    rank: int
    """The global rank."""
    coordinate: dict[str, int]
    """Its index along each axis of the mesh, from 0; empty without a mesh."""
    status: Literal["ok", "failed", "blocked"]
    """Whether it finished; `blocked` if it waits for ever. Ranks that were only assumed to match it are in `classes`, not here."""
    steps: int
    """Optimizer steps that it completed."""
    collectives: list[CollectiveDocument]
    """Its communication calls, in order."""
    traffic: list[GroupTrafficDocument]
    """Its calls by process group, the most bytes first."""
    memory: MemoryDocument
    """Its device memory."""
    failure: FailureDocument | None
    """Why it failed; null if it did not."""
    blocked: BlockedDocument | None
    """Where it waits for ever; null if it does not."""
    stopped_at: CallSiteDocument | None
    """The line that took the last of the job's steps: the script was stopped there and what follows was not run; null if it was not."""
    exited_at: CallSiteDocument | None
    """The line at which the script ended itself with status 0 (`exit`, `sys.exit`, `os._exit`); null if it did not."""


class ClassDocument(TypedDict):
    """Ranks with the same behaviour: same calls up to renaming of ranks, same memory, same end."""

    simulated: list[int]
    """Global ranks that were simulated, in order; at least one."""
    assumed: list[int]
    """Global ranks that were not simulated and are assumed to match, in order."""


class FindingDocument(TypedDict):
    """One thing to know about the job."""

    code: str
    """What kind of finding it is; docs/findings.md lists all."""
    severity: Literal["error", "warning", "note"]
    """An error makes the command exit with 1 or worse, with `--strict` a warning too."""
    message: str
    """What was found."""
    ranks: list[int]
    """Global ranks that it concerns, in order."""
    call_site: CallSiteDocument | None
    """The user's line; null where there is none."""
    hint: str | None
    """What to do about it; null where there is nothing to say."""
    other_call_sites: list[CallSiteDocument]
    """The lines of other ranks that the message names."""


class IgnoredFindingsDocument(TypedDict):
    """Findings that are left out of the report."""

    code: str
    """Their code."""
    count: int
    """How many there were."""


CheckStatus: TypeAlias = Literal["passed", "ignored", "failed", "unknown"]


class CheckDocument(TypedDict):
    """One limit that the run was held against, and what was measured."""

    name: str
    """The key of the budget, as in a job file: `peak_reserved`, `communication.tp.bytes`."""
    subject: str
    """What was measured: `rank 3`, `cuda:0 of node 0`; empty for the run as a whole."""
    limit: str
    """The limit, as text."""
    measured: str
    """What was measured, as text; empty where nothing was."""
    status: CheckStatus
    """`unknown` where nobody knows whether the limit is kept, which makes the command exit with 1, too; `ignored` where it is not kept
    and its finding is allowed."""
    reason: str
    """Why it is not known whether the limit is kept; empty where it is."""
    source: str
    """Where the limit comes from: file and line, or an option; empty for one that holds by default."""


class AxisTimeDocument(TypedDict):
    """The communication of a rank in the groups of one name, in seconds of the step."""

    group: str
    """The groups' name."""
    calls: int
    """Calls in the step."""
    seconds: float
    """Time of its calls, from the arrival of the last member to the end of each."""
    exposed_s: float
    """The part of it in which nothing computes."""
    waiting_s: float
    """Waiting for other members while nothing computes."""
    gain_s: float | None
    """How much shorter the step would be if the calls took no time; null where it was not asked for."""


class PathDocument(TypedDict):
    """Time on the critical path of all that has the same kind, module and line."""

    kind: str
    """What the time is spent on, as in `kinds_s`."""
    name: str
    """The operation without its arguments, the communication operation, or `host`."""
    group: str | None
    """The groups' name, for communication."""
    seconds: float
    """Its time on the path."""
    count: int
    """How many operations or calls."""
    rank: int
    """A rank that it belongs to."""
    module: str | None
    """The module, indices written as `*`; empty for the root module, null where it is not known."""
    call_site: CallSiteDocument | None
    """The line; null where it is not known."""


class PublishedErrorDocument(TypedDict):
    """How far estimates of published runs of the same kind are from what was published."""

    low: float
    """The least ratio of a published time to its estimate."""
    high: float
    """The highest."""
    runs: int
    """How many runs were compared."""
    same_generation: bool
    """Whether they ran on cards of the job's generation; otherwise on others."""


class StepTimeDocument(TypedDict):
    """The time of a step, estimated. `kinds_s`, `kernels_s`, `modules_s` and `communication` are of the slowest ranks, and add up to
    `summed_s`, not to `seconds`.
    """

    seconds: float
    """The estimate: `summed_s` over `explained`."""
    without: str | None
    """What has no known cost and counts as 0 s, so that a step takes at least `seconds`; null where all costs are known."""
    low_s: float | None
    """Where published runs of this kind lie: the least; null where there are none."""
    high_s: float | None
    """The most."""
    summed_s: float
    """What the costs of operations and calls add up to when they are played against each other."""
    correction: str
    """What the sum is divided by: `none`, `published-run constant` (from public runs, not from the user's machine), `measured step`."""
    explained: float
    """The share of a step that the sum is; 1 without correction."""
    published: PublishedErrorDocument | None
    """What the published runs say; null where none of the kind was compared."""
    step: int
    """The step that was played."""
    mfu: float | None
    """Model FLOPs utilisation; null where the card's peak rate is not known."""
    hfu: float | None
    """Hardware FLOPs utilisation: what is computed again counts."""
    utilisation_convention: str
    """How model FLOPs are counted."""
    model_flops: float
    """Of a rank and step, by that convention."""
    executed_flops: float
    """Of a rank and step, with all that is executed."""
    peak_dtype: str | None
    """The type whose dense rate they are held against."""
    tokens_per_step: int | None
    """Of all ranks; null where it is not known."""
    tokens_origin: str
    """What the tokens are taken from, or why they are not known."""
    tokens_per_s: float | None
    """Of the whole job."""
    tokens_per_s_per_device: float | None
    """Of a device."""
    slowest_ranks: list[int]
    """The ranks whose step takes longest."""
    kinds_s: dict[str, float]
    """What the step is spent on: compute, optimizer, contention, exposed communication, bubble, waiting for other ranks, host."""
    kernels_s: dict[str, float]
    """Time of kernels by what they do."""
    modules_s: dict[str, float]
    """Time of kernels by module, indices written as `*`; empty outside of modules."""
    communication: list[AxisTimeDocument]
    """By the names of groups, those with most exposed time first."""
    kernel_basis_s: dict[str, float]
    """Time of kernels by what their costs are taken from: calibrated, measured, interpolated, roofline, extrapolated."""
    communication_basis_s: dict[str, float]
    """The same of calls."""
    critical_path: list[PathDocument]
    """What the step waits for from its end to its beginning, the longest first."""
    remarks: list[str]
    """What else to know of the figures."""


class ReportDocument(TypedDict):
    """The report of one fakerun run."""

    schema_version: Literal[2]
    """Version of this schema. Within a version keys are only added."""
    fakerun_version: str
    """The fakerun that ran the job."""
    torch_version: str | None
    """The torch that the job ran with; null if no rank came to say."""
    job: JobDocument
    """What was asked for."""
    ranks: list[RankDocument]
    """Simulated ranks, in order."""
    classes: list[ClassDocument]
    """All ranks, simulated or assumed, by behaviour."""
    devices: list[NodeDeviceDocument]
    """The devices that simulated ranks allocate on, by node and index."""
    findings: list[FindingDocument]
    """All findings, most severe first."""
    ignored_findings: list[IgnoredFindingsDocument]
    """Findings that are left out because they are to be ignored (`--ignore`)."""
    checks: list[CheckDocument]
    """What the run was held against, passed or not."""
    exit_code: int
    """What the command exits with: docs/command_line.md lists all."""
    step_time: StepTimeDocument | None
    """The time of a step, estimated; null where it is not known."""
    step_time_unknown: str
    """Why it is not; empty where it is."""


DOCUMENTS = (
    BlockedDocument,
    CallSiteDocument,
    JobDocument,
    CollectiveDocument,
    VolumeDocument,
    GroupTrafficDocument,
    PeakDocument,
    CategoriesDocument,
    ModuleDocument,
    ContributionDocument,
    NodeDeviceDocument,
    TensorsDocument,
    NotIncludedDocument,
    OutsideDocument,
    AdviceDocument,
    PoolDocument,
    PrivatePoolDocument,
    DeviceDocument,
    MemoryDocument,
    AxisTimeDocument,
    PathDocument,
    PublishedErrorDocument,
    StepTimeDocument,
    FailureDocument,
    RankDocument,
    ClassDocument,
    FindingDocument,
    IgnoredFindingsDocument,
    CheckDocument,
    ReportDocument,
)
"""Every kind of object in the document."""
