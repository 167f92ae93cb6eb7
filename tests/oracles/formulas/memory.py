"""What a rank holds for longer than a step: parameters, gradients, optimizer state."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from tests.oracles.formulas.collective import DTYPE_BYTES
from tests.oracles.formulas.ddp import ddp_buckets
from tests.oracles.formulas.model import Job, Size, fsdp_local_size, fsdp_padded_size, fsdp_units, parameters, tp_local_size


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of one rank's storages, one number each, after an optimizer step and before `zero_grad`.

    AdamW's `step_counts`, a scalar per parameter, are on the host whatever the device, unless it is `fused` or `capturable`. `buckets` are
    DDP's own copies of the gradients, from the second step on; only DDP sees them.
    """

    parameters: tuple[int, ...]
    gradients: tuple[int, ...]
    optimizer_state: tuple[int, ...]
    step_counts: tuple[int, ...]
    buckets: tuple[int, ...] = ()


def ddp_footprint(job: Job) -> Footprint:
    """The same on every rank: the whole model, its gradients, these again in buckets, and the whole optimizer state."""
    sizes = [parameter.size for parameter in parameters(job.shape)]
    return Footprint(
        parameters=tuple(map(float32_bytes, sizes)),
        gradients=tuple(map(float32_bytes, sizes)),
        optimizer_state=adamw_state(sizes),
        step_counts=adamw_step_counts(sizes),
        buckets=tuple(sum(map(float32_bytes, bucket)) for bucket in ddp_buckets(job.shape)),
    )


def fsdp_footprint(job: Job, rank: int) -> Footprint:
    """FSDP2's shards, of what tensor parallelism leaves where there is some. They are float32 whatever is computed in.

    A parameter's storage is padded (`FSDPParam.reset_sharded_param`). The gradients of a unit are views of one storage, the output of the
    unit's reduce-scatter, padded as the parameters are. Optimizer state is made like the shard that the parameter shows, unpadded.
    """
    dp_rank, tp_rank = divmod(rank, job.tp)
    units = [[tp_local_size(parameter, job.tp, tp_rank) for parameter in unit] for unit in fsdp_units(job.shape)]
    padded = [[float32_bytes(fsdp_padded_size(size, job.dp)) for size in unit] for unit in units]
    shards = [fsdp_local_size(size, job.dp, dp_rank) for unit in units for size in unit]
    return Footprint(
        parameters=tuple(storage for unit in padded for storage in unit),
        gradients=tuple(sum(unit) for unit in padded),
        optimizer_state=adamw_state(shards),
        step_counts=adamw_step_counts(shards),
    )


def adamw_state(sizes: Iterable[Size]) -> tuple[int, ...]:
    """exp_avg and exp_avg_sq, both like the parameter."""
    return tuple(float32_bytes(size) for size in sizes for _ in ("exp_avg", "exp_avg_sq"))


def adamw_step_counts(sizes: Iterable[Size]) -> tuple[int, ...]:
    return tuple(float32_bytes(()) for _ in sizes)


def float32_bytes(size: Size) -> int:
    return prod(size) * DTYPE_BYTES["float32"]
