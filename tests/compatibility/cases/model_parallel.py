"""Tensor parallelism."""

from tests.compatibility.case import Case

CASES = (
    Case(
        program="model_parallel/tensor_parallel",
        world_size=2,
        operations={"scatter": 6, "broadcast": 1, "reduce_scatter_tensor": 8, "all_gather_into_tensor": 8, "all_reduce": 40},
    ),
)
