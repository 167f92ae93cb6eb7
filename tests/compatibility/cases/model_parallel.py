"""Tensor parallelism and pipelines."""

from itertools import pairwise

from tests.compatibility.case import Case, Operations

_MICROBATCHES, _STEPS = 8, 2
"""Of programs/model_parallel/pipeline.py."""

_IN_A_ROW = ("ScheduleGPipe", "Schedule1F1B")
_IN_A_LOOP = ("ScheduleInterleaved1F1B", "ScheduleLoopedBFS", "ScheduleInterleavedZeroBubble")
_IN_A_V = ("ScheduleZBVZeroBubble", "ScheduleDualPipeV")


def _pipeline(schedule: str, ranks: int, shapes: str = "static") -> Case:
    return Case(
        program="model_parallel/pipeline",
        variant=f"{schedule}-{shapes}",
        args=(schedule, shapes),
        world_size=ranks,
        operations=tuple(_messages(schedule, shapes, ranks, rank) for rank in range(ranks)),
    )


def _messages(schedule: str, shapes: str, ranks: int, rank: int) -> Operations:
    """What one rank sends and receives, which is as much: at each hop between its stages and other ranks' it is either end once.

    A hop takes one message forward and one back for each micro-batch, and before the first step a vote, whether shapes are to be
    inferred, each way. If they are, the shapes follow as an object each way, in two messages: its size and its bytes.
    """
    owners = _owners(schedule, ranks)
    hops = sum(rank in hop and len(set(hop)) == 2 for hop in pairwise(owners))
    each_way = _STEPS * _MICROBATCHES + 1 + (2 if shapes == "inferred" else 0)
    return {"send": hops * each_way, "recv": hops * each_way}


def _owners(schedule: str, ranks: int) -> list[int]:
    """The rank of each stage."""
    row = list(range(ranks))
    second = row if schedule in _IN_A_LOOP else row[::-1] if schedule in _IN_A_V else []
    return row + second


CASES = (
    Case(
        program="model_parallel/tensor_parallel",
        world_size=2,
        operations={"scatter": 6, "broadcast": 1, "reduce_scatter_tensor": 8, "all_gather_into_tensor": 8, "all_reduce": 40},
    ),
    *(_pipeline(schedule, ranks=2) for schedule in (*_IN_A_LOOP, *_IN_A_V)),
    *(_pipeline(schedule, ranks=4) for schedule in _IN_A_ROW),
    _pipeline("Schedule1F1B", ranks=4, shapes="inferred"),
    _pipeline("ScheduleInterleaved1F1B", ranks=2, shapes="inferred"),
    _pipeline("ScheduleDualPipeV", ranks=2, shapes="inferred"),
)
