"""Every call of torch.distributed that communicates, and the groups to call it in."""

from typing import Any

from tests.compatibility.case import NO_OPTIMIZER_STEP, Case, NotOnGloo, Operations


def communication(
    program: str,
    world_size: int,
    operations: Operations | tuple[Operations, ...],
    also_found: frozenset[str] = frozenset(),
    **more: Any,
) -> Case:
    """A program that only communicates."""
    return Case(
        program=f"collectives/{program}",
        world_size=world_size,
        operations=operations,
        findings=NO_OPTIMIZER_STEP | also_found,
        **more,
    )


NO_LISTS = "Backend gloo does not support alltoall"

CASES = (
    communication("all_reduce", 2, {"all_reduce": 14}),
    communication("dtypes", 2, {"all_reduce": 7, "broadcast": 2, "all_gather_into_tensor": 1}),
    communication(
        "averaging",
        2,
        {"all_reduce": 2, "reduce_scatter_tensor": 1},
        not_on_gloo=NotOnGloo(why="a sum of scaled tensors is NCCL's", says="Cannot use ReduceOp.PREMUL_SUM with Gloo"),
    ),
    communication("all_gather", 2, {"all_gather": 6, "all_gather_into_tensor": 5}),
    communication(
        "all_gather_uneven",
        2,
        {"all_gather": 1},
        not_on_gloo=NotOnGloo(why="gloo gathers equal sizes only", says="ProcessGroupGloo::allgather: invalid tensor size"),
    ),
    communication("reduce_scatter", 2, {"reduce_scatter": 2, "reduce_scatter_tensor": 3}),
    communication(
        "stacked",
        2,
        {"all_gather_into_tensor": 1, "reduce_scatter_tensor": 1},
        not_on_gloo=NotOnGloo(why="gloo knows one layout only", says="ProcessGroupGloo::allgather: invalid tensor size"),
    ),
    communication("rooted", 4, {"broadcast": 4, "reduce": 3, "scatter": 2, "gather": 2}),
    communication("all_to_all", 2, {"all_to_all": 1, "all_to_all_single": 2}, not_on_gloo_before_2_13=NO_LISTS),
    communication(
        "coalesced",
        2,
        {"all_reduce": 1, "all_gather_into_tensor": 1, "reduce_scatter_tensor": 1},
        not_on_gloo=NotOnGloo(why="gloo does not coalesce", says="Backend gloo does not implement startCoalescing"),
    ),
    communication("coalesced_lists", 2, {"all_reduce": 1, "all_gather": 1}),
    communication("asynchronous", 2, {"all_reduce": 6, "all_gather_into_tensor": 1, "all_to_all_single": 1, "broadcast": 1, "barrier": 1}),
    communication("point_to_point", 4, {"send": 3, "recv": 3}),
    communication("batched_point_to_point", 4, {"send": 7, "recv": 7}),
    communication("barriers", 4, {"barrier": 6}),
    communication(
        "objects",
        2,
        (
            {"all_gather": 3, "gather": 1, "broadcast": 3, "scatter": 2, "send": 2},
            {"all_gather": 3, "gather": 1, "broadcast": 3, "scatter": 2, "recv": 2},
        ),
        operations_from_2_15=(
            {"all_gather": 1, "all_gather_into_tensor": 2, "gather": 1, "broadcast": 3, "scatter": 2, "send": 2},
            {"all_gather": 1, "all_gather_into_tensor": 2, "gather": 1, "broadcast": 3, "scatter": 2, "recv": 2},
        ),
    ),
    communication(
        "functional",
        2,
        {"all_reduce": 4, "all_gather_into_tensor": 5, "reduce_scatter_tensor": 5, "all_to_all_single": 3, "broadcast": 1},
    ),
    communication(
        "differentiable",
        2,
        {"all_gather": 3, "all_reduce": 2, "all_to_all": 4, "reduce_scatter": 1, "broadcast": 1, "reduce": 1},
        not_on_gloo_before_2_13=NO_LISTS,
    ),
    communication(
        "subgroups",
        4,
        (
            {"all_reduce": 2, "broadcast": 1},
            {"all_reduce": 1, "broadcast": 1},
            {"all_reduce": 1, "broadcast": 1},
            {"all_reduce": 2, "broadcast": 1},
        ),
        also_found=frozenset({"non-member"}),
    ),
    communication("meshes", 4, {"all_reduce": 3, "all_gather_into_tensor": 1, "reduce_scatter_tensor": 1, "broadcast": 1}),
    communication(
        "several_backends",
        2,
        {"all_reduce": 3, "broadcast": 2, "all_gather": 4},
        operations_from_2_15={"all_reduce": 3, "broadcast": 2, "all_gather": 2, "all_gather_into_tensor": 2},
    ),
)
