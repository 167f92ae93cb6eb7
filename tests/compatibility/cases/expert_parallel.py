"""Expert parallelism: tokens go to the ranks that have their experts."""

from tests.compatibility.case import Case

CASES = (
    Case(program="expert_parallel/hash_routing", world_size=2, operations={"all_to_all_single": 10}),
    Case(
        program="expert_parallel/token_dispatch",
        world_size=2,
        operations={"all_to_all_single": 8},
        findings=frozenset({"assumed-routing"}),
    ),
    Case(program="expert_parallel/grouped_mm", world_size=2, operations={"all_to_all_single": 8}),
    Case(program="expert_parallel/capacity", world_size=2, operations={"all_to_all_single": 6, "all_reduce": 2}),
    Case(program="expert_parallel/replicated_tokens", world_size=2, operations={"all_reduce": 6}),
    Case(
        program="expert_parallel/fsdp_experts",
        world_size=4,
        operations={"all_gather_into_tensor": 16, "all_to_all_single": 16, "reduce_scatter_tensor": 8},
    ),
)
