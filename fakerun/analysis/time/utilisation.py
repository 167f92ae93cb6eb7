"""How well a step uses the devices: floating-point operations of a step, MFU, HFU and tokens a second, and the convention of each.

As the PaLM paper defines them (Chowdhery et al. 2022, appendix B): model FLOPs are those of forward and backward as the model is written,
twice those of forward for backward, attention counted over the whole square also where it is causal (as torch's flop formulas do), nothing
counted again that is computed again. Model FLOPs utilisation (MFU) is what they take of the time at the peak rate, hardware FLOPs
utilisation (HFU) the same of all that is executed, what activation checkpointing computes again included.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from fakerun.analysis.time.costs import OperationCost
from fakerun.hardware.accelerator import Accelerator
from fakerun.mesh import Mesh
from fakerun.records.collective import P2P_OPS, CollectiveOp, Phase
from fakerun.records.device_program import DeviceProgram, Opcode, Operation
from fakerun.records.run import RankRecord

CONVENTION = "PaLM convention"
"""Of MFU and HFU: attention counts the whole square, what is computed again counts for HFU only."""

_EXECUTES = frozenset({Opcode.EXECUTE, Opcode.REPLAY})

_SUMS = frozenset({CollectiveOp.ALL_REDUCE, CollectiveOp.REDUCE_SCATTER, CollectiveOp.REDUCE_SCATTER_TENSOR})

_BACKWARD_FACTOR = 2
"""FLOPs of backward for each of forward: the products for the input's and for the weight's gradient."""

_DATA_AXES = frozenset({"dp", "ddp", "fsdp", "hsdp", "data", "data_parallel", "replicate", "shard", "cp", "context", "ep", "expert"})
_MODEL_AXES = frozenset({"tp", "tensor", "tensor_parallel", "pp", "pipe", "pipeline", "pipeline_parallel", "stage", "etp"})
"""Axes along which ranks compute the same tokens. Context and expert parallelism are given different ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFlops:
    """Floating-point operations of one step of a rank: by `CONVENTION`, and those that are executed."""

    model: float
    executed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Tokens of a step of all ranks, and what that is taken from; `count` is None where it is not known, and `origin` says why.

    `recorded` are those that the models are given where the user gave the `count`; None where they are not known.
    """

    count: int | None
    origin: str
    recorded: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilisation:
    """Of a step. `mfu` and `hfu` are shares of `peak_flops`, the dense rate of a device for `peak_dtype`; None: not known.

    `flops` are those of one rank, on average over the ranks that are known.
    """

    flops: StepFlops
    peak_dtype: str | None
    peak_flops: float | None
    mfu: float | None
    hfu: float | None
    tokens: Tokens
    tokens_per_s: float | None
    """Of the whole job."""
    tokens_per_s_per_device: float | None


def step_flops(program: DeviceProgram, step: int, operation_cost: Callable[[Operation], OperationCost | None]) -> StepFlops:
    """The FLOPs of a completed training step of one rank."""
    executed = _executed(program, step)
    by_phase: Counter[Phase] = Counter()
    for (number, phase), count in executed.items():
        cost = operation_cost(program.operations[number])
        if cost is not None:
            by_phase[phase] += count * cost.full_flops
    forward, backward = by_phase[Phase.FORWARD], by_phase[Phase.BACKWARD]
    # Beyond twice the forward, backward has what is computed again: by activation checkpointing, or inside fused attention kernels.
    others = by_phase[Phase.OPTIMIZER] + by_phase[Phase.OTHER]
    return StepFlops(model=forward + min(backward, _BACKWARD_FACTOR * forward), executed=forward + backward + others)


def _executed(program: DeviceProgram, step: int) -> Counter[tuple[int, Phase]]:
    """How often each operation, by number, is executed in each phase of a step."""
    phases = tuple(Phase)
    first, last = program.step_ends[step - 1] if step else 0, program.step_ends[step]
    begins = {number: phases[each.operand] for number, each in enumerate(program.instructions) if each.opcode is Opcode.BEGIN_PHASE}
    executes = {number: each.operand for number, each in enumerate(program.instructions) if each.opcode in _EXECUTES}
    phase = next((begins[number] for number in reversed(program.order[:first]) if number in begins), Phase.OTHER)
    found: Counter[tuple[int, Phase]] = Counter()
    for number in program.order[first:last]:
        if (operation := executes.get(number)) is not None:
            found[operation, phase] += 1
        elif number in begins:
            phase = begins[number]
    return found


def tokens_of_step(records: Sequence[RankRecord], mesh: Mesh | None, world_size: int) -> Tokens:
    """The tokens that all ranks' models are given in the last completed step: those of one rank, times the ranks with other data.

    The first pipeline stage alone is given tokens; ranks along model-parallel axes are given the same.
    """
    found = next(((record, count, shapes) for record in records for count, shapes in (_tokens_of_rank(record),) if count), None)
    if found is None:
        return Tokens(count=None, origin="no model is given whole numbers (token ids) with gradients enabled")
    record, count, shapes = found
    ranks, why = _ranks_with_own_data(record, mesh, world_size)
    given = f"rank {record.rank}'s model is given {shapes}"
    if ranks is None:
        return Tokens(count=None, origin=f"{given}, but {why}")
    return Tokens(count=count * ranks, origin=f"{given}, times {ranks} data-parallel ranks" if ranks > 1 else given)


def _tokens_of_rank(record: RankRecord) -> tuple[int, str]:
    """The tokens of the last completed step that has some, of the model that is given most, and their shapes as text."""
    steps = [each.step for each in record.model_inputs if each.step < record.steps]
    if not steps:
        return 0, ""
    last: dict[int, Counter[tuple[int, ...]]] = {}
    for each in record.model_inputs:
        if each.step == max(steps):
            last.setdefault(each.model, Counter())[each.shape] += each.calls
    shapes = max(last.values(), key=_elements)
    texts = ["x".join(map(str, shape)) + (f" {calls} times" if calls > 1 else "") for shape, calls in shapes.items()]
    return _elements(shapes), " and ".join(texts)


def _elements(shapes: Mapping[tuple[int, ...], int]) -> int:
    return sum(prod(shape) * calls for shape, calls in shapes.items())


def _ranks_with_own_data(record: RankRecord, mesh: Mesh | None, world_size: int) -> tuple[int | None, str]:
    """How many ranks are given tokens of their own, or why that is not known."""
    if world_size == 1:
        return 1, ""
    if mesh is not None and mesh.world_size == world_size:
        sizes = {axis: size for axis, size in mesh.by_axis(mesh.sizes).items() if size > 1}
        unknown = [axis for axis in sizes if not _is_data_axis(axis) and axis not in _MODEL_AXES]
        if not unknown:
            return prod(size for axis, size in sizes.items() if _is_data_axis(axis)), ""
        if len(sizes) > 1:
            return None, f"whether the ranks along {' and '.join(unknown)} are given the same is not known"
    return _of_one_group(record, world_size)


def _is_data_axis(axis: str) -> bool:
    return axis in _DATA_AXES or axis.startswith(("dp_", "fsdp_"))


def _of_one_group(record: RankRecord, world_size: int) -> tuple[int | None, str]:
    """Without axes: all ranks, if they communicate as a whole alone, and neither send to each other, as pipeline stages do, nor add up
    anything in forward, as tensor parallelism does.
    """
    calls = [call for call in record.collectives if call.device is not None and call.group_size > 1]
    if not calls:
        return None, "the ranks communicate nothing, and the job has no mesh that says which of them are given the same"
    if any(call.group_size != world_size for call in calls):
        return None, "the job has no mesh that says which ranks are given the same"
    if any(call.op in P2P_OPS for call in calls):
        return None, "ranks send to each other, and the job has no mesh that says which of them are stages of a pipeline"
    if any(call.op in _SUMS and call.phase is Phase.FORWARD for call in calls):
        return None, "forward adds up results of all ranks, and the job has no mesh that says which of them are given the same"
    return world_size, ""


def mean_flops(flops: Iterable[tuple[StepFlops, int]]) -> StepFlops:
    """The average over ranks, of those of each class of ranks and how many ranks it has."""
    model, executed, known = 0.0, 0.0, 0
    for each, ranks in flops:
        model, executed, known = model + each.model * ranks, executed + each.executed * ranks, known + ranks
    return StepFlops(model=model / known, executed=executed / known)


def utilisation(
    step_s: float, flops: StepFlops, tokens: Tokens, accelerator: Accelerator, world_size: int, devices_of_rank: float = 1.0
) -> Utilisation:
    """What a step of `step_s` seconds makes of the devices. `flops` are those of an average rank, which uses `devices_of_rank`."""
    dtype, peak = _peak(accelerator)
    per_s = None if tokens.count is None else tokens.count / step_s
    return Utilisation(
        flops=flops,
        peak_dtype=dtype,
        peak_flops=peak,
        mfu=None if peak is None else flops.model / (step_s * peak * devices_of_rank),
        hfu=None if peak is None else flops.executed / (step_s * peak * devices_of_rank),
        tokens=tokens,
        tokens_per_s=per_s,
        tokens_per_s_per_device=None if per_s is None else per_s / (world_size * devices_of_rank),
    )


def _peak(accelerator: Accelerator) -> tuple[str | None, float | None]:
    """The dense rate that MFU is held against: of bfloat16, as publications do also where a part is computed in float8."""
    rates = {"bfloat16": accelerator.bfloat16_flops, "float16": accelerator.float16_flops, "float32": accelerator.float32_flops}
    return next(((dtype, rate) for dtype, rate in rates.items() if rate), (None, None))
