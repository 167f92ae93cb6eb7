"""Data parallelism: the replicas of DDP, the shards of ZeRO and FSDP."""

from tests.compatibility.case import FLAT_PARAMETERS, Case, NotOnGloo, Operations


def ddp_hook(hook: str, operations: Operations) -> Case:
    return Case(program="data_parallel/ddp_comm_hooks", variant=hook, args=(hook,), world_size=2, operations=operations)


def fsdp1(strategy: str, operations: Operations) -> Case:
    return Case(
        program="data_parallel/fsdp1",
        variant=strategy.lower(),
        args=(strategy,),
        world_size=2,
        operations=operations,
        other_on_cuda=(FLAT_PARAMETERS,) if "all_gather_into_tensor" in operations else (),
    )


def fsdp2(policy: str, world_size: int, gathers: int) -> Case:
    """Reductions do not depend on the policy."""
    return Case(
        program="data_parallel/fsdp2",
        variant=policy,
        args=(policy, str(world_size)),
        world_size=world_size,
        operations={"all_gather_into_tensor": gathers, "reduce_scatter_tensor": 6, "all_reduce": 2},
    )


CASES = (
    Case(program="data_parallel/by_hand", world_size=2, operations={"broadcast": 4, "all_reduce": 4}),
    Case(program="data_parallel/ddp", world_size=2, operations={"all_gather": 1, "broadcast": 11, "all_reduce": 5}),
    Case(program="data_parallel/ddp_no_sync", world_size=2, operations={"all_gather": 1, "broadcast": 4, "all_reduce": 2}),
    Case(program="data_parallel/ddp_static_graph", world_size=2, operations={"all_gather": 1, "broadcast": 4, "all_reduce": 4}),
    Case(program="data_parallel/ddp_unused_parameters", world_size=2, operations={"all_gather": 1, "broadcast": 2, "all_reduce": 8}),
    ddp_hook("fp16", {"all_gather": 1, "broadcast": 4, "all_reduce": 4, "barrier": 1}),
    ddp_hook("own", {"all_gather": 1, "broadcast": 4, "all_reduce": 4, "barrier": 1}),
    ddp_hook("power_sgd", {"all_gather": 1, "broadcast": 4, "all_reduce": 8, "barrier": 1}),
    Case(
        program="data_parallel/ddp_sync_batch_norm",
        world_size=2,
        operations={"all_gather": 1, "broadcast": 9, "all_gather_into_tensor": 2, "all_reduce": 4},
        findings=frozenset({"unknown-value"}),
        not_on_gloo=NotOnGloo(why="the layer is for GPUs", says="SyncBatchNorm layers only work with GPU modules"),
    ),
    Case(program="data_parallel/ddp_join", world_size=2, operations={"all_gather": 1, "broadcast": 5, "all_reduce": 8}),
    Case(program="data_parallel/local_sgd", world_size=4, operations={"all_gather": 1, "broadcast": 4, "all_reduce": 8}),
    Case(program="data_parallel/replicate", world_size=2, operations={"all_gather": 1, "broadcast": 4, "all_reduce": 2}),
    Case(program="data_parallel/zero_redundancy", world_size=2, operations={"all_gather": 1, "broadcast": 34, "all_reduce": 3}),
    fsdp1("FULL_SHARD", {"all_gather_into_tensor": 10, "reduce_scatter_tensor": 6, "all_reduce": 2}),
    fsdp1("SHARD_GRAD_OP", {"all_gather_into_tensor": 6, "reduce_scatter_tensor": 6, "all_reduce": 2}),
    fsdp1("NO_SHARD", {"all_reduce": 6}),
    Case(
        program="data_parallel/fsdp1_hybrid",
        world_size=4,
        operations={"all_gather_into_tensor": 12, "reduce_scatter_tensor": 4, "all_reduce": 4},
        other_on_cuda=(FLAT_PARAMETERS,),
    ),
    fsdp2("default", 2, gathers=12),
    fsdp2("always", 2, gathers=12),
    fsdp2("never", 2, gathers=6),
    fsdp2("pairs", 4, gathers=12),
    Case(
        program="data_parallel/fsdp2_hybrid",
        world_size=4,
        operations={"all_gather_into_tensor": 10, "reduce_scatter_tensor": 6, "all_reduce": 6},
    ),
    Case(
        program="data_parallel/fsdp2_offload",
        world_size=2,
        operations={"all_gather_into_tensor": 8, "reduce_scatter_tensor": 4},
        findings=frozenset({"unknown-value"}),
    ),
    Case(
        program="data_parallel/fsdp2_accumulation",
        world_size=2,
        operations={"all_gather_into_tensor": 34, "reduce_scatter_tensor": 8},
    ),
)
