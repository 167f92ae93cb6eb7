"""Tensor parallelism and what DTensor does for it; pipelines, alone and over shards."""

from itertools import pairwise

from tests.compatibility.case import NO_OPTIMIZER_STEP, RANDOM_STATE, Case, NotOnGloo, Operations, OtherOnCuda
from tests.oracles.programs import CallIdentity

_MICROBATCHES, _STEPS = 8, 2
"""Of programs/model_parallel/pipeline.py."""

IN_A_ROW = ("ScheduleGPipe", "Schedule1F1B")
IN_A_LOOP = ("ScheduleInterleaved1F1B", "ScheduleLoopedBFS", "ScheduleInterleavedZeroBubble")
IN_A_V = ("ScheduleZBVZeroBubble", "ScheduleDualPipeV")

OTHER_VOTES = "the stages of torch 2.11 vote and infer their shapes with other numbers of messages"


def _pipeline(schedule: str, ranks: int, shapes: str = "static") -> Case:
    return Case(
        program="model_parallel/pipeline",
        variant=f"{schedule}-{shapes}",
        args=(schedule, shapes),
        world_size=ranks,
        operations=tuple(pipeline_messages(schedule, shapes, ranks, rank) for rank in range(ranks)),
        operations_from_2_15=tuple(pipeline_messages_from_2_15(schedule, shapes, ranks, rank) for rank in range(ranks)),
        other_before_2_13=OTHER_VOTES if shapes == "inferred" or schedule in IN_A_V else "",
        not_on_gloo_before_2_13="Pair is not connected" if schedule in IN_A_V else "",
    )


def pipeline_messages(schedule: str, shapes: str, ranks: int, rank: int) -> Operations:
    """What one rank sends and receives, which is as much: at each hop between its stages and other ranks' it is either end once.

    A hop takes one message forward and one back for each micro-batch, and before the first step a vote, whether shapes are to be
    inferred, each way. If they are, the shapes follow as an object each way, in two messages: its size and its bytes.
    """
    messages = len(_hops(schedule, ranks, rank)) * (_STEPS * _MICROBATCHES + 1 + (2 if shapes == "inferred" else 0))
    return {"send": messages, "recv": messages}


def pipeline_messages_from_2_15(schedule: str, shapes: str, ranks: int, rank: int) -> Operations:
    """The vote is one reduction. Then each pair of neighbours connects, the lower of them by a message, in as many rounds as it takes
    for nobody to be in two pairs at once; each round ends with a reduction.
    """
    hops = _hops(schedule, ranks, rank)
    pairs = {(min(hop), max(hop)) for hop in hops}
    messages = len(hops) * (_STEPS * _MICROBATCHES + (2 if shapes == "inferred" else 0))
    return {
        "all_reduce": 1 + _rounds(ranks),
        "send": messages + sum(lower == rank for lower, _ in pairs),
        "recv": messages + sum(higher == rank for _, higher in pairs),
    }


def _rounds(ranks: int) -> int:
    """Of an even number of ranks, each a neighbour of the next."""
    return 1 if ranks == 2 else 2


def _hops(schedule: str, ranks: int, rank: int) -> list[tuple[int, int]]:
    """The ranks of each two stages, one after the other, of which the rank has one."""
    return [hop for hop in pairwise(stage_owners(schedule, ranks)) if rank in hop and len(set(hop)) == 2]


def stage_owners(schedule: str, ranks: int) -> list[int]:
    """The rank of each stage."""
    row = list(range(ranks))
    second = row if schedule in IN_A_LOOP else row[::-1] if schedule in IN_A_V else []
    return row + second


def _pipeline_of_shards(stages: int, data: int, tensor: int) -> Case:
    return Case(
        program="model_parallel/pipeline_of_shards",
        variant=f"{stages}x{data}x{tensor}",
        args=(str(stages), str(data), str(tensor)),
        world_size=stages * data * tensor,
        operations=tuple(_stage_operations(stage, data, tensor) for stage in range(stages) for _ in range(data * tensor)),
        operations_from_2_15=tuple(
            _stage_operations_from_2_15(stage, data, tensor) for stage in range(stages) for _ in range(data * tensor)
        ),
    )


def _stage_operations(stage: int, data: int, tensor: int) -> Operations:
    """Of one of two stages, in two steps of four micro-batches: each has one hop, with a vote before the first step.

    Tensor parallelism sums each micro-batch's activations, and in the stage that gives gradients back, those too. The norm of the
    gradients is summed over each axis. A stage is gathered and its gradients are reduced once a step.
    """
    steps, microbatches = 2, 4
    messages = steps * microbatches + 1
    axes = 1 + (data > 1) + (tensor > 1)
    operations = {"send": messages, "recv": messages, "all_reduce": steps * axes}
    if tensor > 1:
        operations["all_reduce"] += steps * microbatches * (1 + (stage > 0))
        operations |= {"scatter": 3, "broadcast": 1}
    if data > 1:
        operations |= {"all_gather_into_tensor": steps, "reduce_scatter_tensor": steps}
    return operations


def _stage_operations_from_2_15(stage: int, data: int, tensor: int) -> Operations:
    """The vote is a reduction, and the first stage connects to the second by a message, which a further reduction ends."""
    operations = dict(_stage_operations(stage, data, tensor))
    operations["all_reduce"] += 1 + _rounds(ranks=2)
    operations["recv" if stage == 0 else "send"] -= 1
    return operations


def _context_parallel(rotation: str, ranks: int) -> Case:
    """Ring attention, twice, under FSDP2, which gathers the weights once a step.

    Keys and values go round until all have seen them, one hop fewer than there are ranks, in forward and again in backward, or are
    gathered in one call instead. Their gradients always go round, back to where they belong: one hop for each rank.
    """
    steps, hops = 2, ranks - 1
    gathers, exchanges = (2, ranks) if rotation == "allgather" else (0, 2 * hops + ranks)
    return Case(
        program="model_parallel/context_parallel",
        variant=rotation,
        args=(rotation,),
        world_size=ranks,
        operations={
            "all_gather_into_tensor": steps * (1 + gathers),
            "all_to_all_single": steps * exchanges,
            "reduce_scatter_tensor": steps,
        },
        not_on_gloo=NotOnGloo(
            why="torch has no ring attention for the CPU's attention kernel",
            says="_scaled_dot_product_flash_attention_for_cpu.default does not have a sharding strategy registered",
        ),
    )


def _sharded_replicas(replicas: int, shards: int, tensor: int) -> Case:
    """Two blocks, in two steps: each is gathered for forward and for backward, its gradients reduced, and again over its replicas.

    Tensor parallelism sums each block's output, and the gradient of its input, which the first block's needs not. The norm is summed
    over both axes that split weights.
    """
    steps, blocks = 2, 2
    sums = blocks + (blocks - 1) + 2 + (blocks if replicas > 1 else 0)
    return Case(
        program="model_parallel/sharded_replicas",
        variant=f"{replicas}x{shards}x{tensor}",
        args=(str(replicas), str(shards), str(tensor)),
        world_size=replicas * shards * tensor,
        operations={
            "scatter": 2 * blocks,
            "all_gather_into_tensor": steps * 2 * blocks,
            "reduce_scatter_tensor": steps * blocks,
            "all_reduce": steps * sums,
        },
    )


def _exchange_of_parts(call: CallIdentity) -> CallIdentity:
    """An all-gather of rows or columns on two ranks as the all-to-all of the parts of six columns."""
    op, group, dtype, inputs, _ = call
    if op != "all_gather_into_tensor":
        return call
    ((rows, columns),) = inputs
    parts = ((2, rows if columns == 6 else rows // 2, 3),)
    return ("all_to_all_single", group, dtype, parts, parts)


CASES = (
    Case(
        program="model_parallel/tensor_parallel",
        world_size=2,
        operations={"scatter": 6, "broadcast": 1, "reduce_scatter_tensor": 8, "all_gather_into_tensor": 8, "all_reduce": 40},
        other_before_2_13="torch 2.11 issues 48 all_reduces here, over gloo too",
    ),
    *(_pipeline(schedule, ranks=2) for schedule in (*IN_A_LOOP, *IN_A_V)),
    *(_pipeline(schedule, ranks=4) for schedule in IN_A_ROW),
    _pipeline("Schedule1F1B", ranks=4, shapes="inferred"),
    _pipeline("ScheduleInterleaved1F1B", ranks=2, shapes="inferred"),
    _pipeline("ScheduleDualPipeV", ranks=2, shapes="inferred"),
    _sharded_replicas(1, 2, 2),
    _sharded_replicas(2, 2, 2),
    *(_context_parallel(rotation, ranks) for rotation, ranks in (("allgather", 2), ("alltoall", 4))),
    _pipeline_of_shards(2, 2, 1),
    _pipeline_of_shards(2, 1, 2),
    _pipeline_of_shards(2, 2, 2),
    Case(
        program="model_parallel/redistribute",
        world_size=4,
        operations={
            "scatter": 14,
            "all_gather_into_tensor": 31,
            "all_reduce": 6,
            "reduce_scatter_tensor": 12,
            "all_gather": 2,
            "broadcast": 3,
        },
        operations_from_2_15={
            "scatter": 14,
            "all_gather_into_tensor": 33,
            "all_reduce": 6,
            "reduce_scatter_tensor": 12,
            "broadcast": 3,
        },
        findings=NO_OPTIMIZER_STEP,
    ),
    Case(
        program="model_parallel/reshard",
        world_size=2,
        operations={"scatter": 3, "all_to_all_single": 6},
        findings=NO_OPTIMIZER_STEP,
        other_on_cuda=(
            OtherOnCuda(why="DTensor exchanges parts, on the CPU it gathers all and keeps its part", translate=_exchange_of_parts),
        ),
    ),
    Case(
        program="model_parallel/random_shards",
        world_size=4,
        operations={"broadcast": 1, "all_reduce": 4},
        only_on_cuda=(RANDOM_STATE,),
    ),
    Case(
        program="model_parallel/random_factories",
        world_size=4,
        operations={"broadcast": 1},
        not_on_gloo=NotOnGloo(why="DTensor makes random numbers on accelerators only", says="in _dtensor_init_helper"),
        fails_before_2_13="an assertion of the program fails under torch 2.11, whose DTensor gathers in the backward pass of the sum",
    ),
)
