"""What else a training script does: precision, recomputation, compilation, attention, data, evaluation, checkpoints, logs."""

from tests.compatibility.case import Case, NotOnGloo

_DDP_BEGINS = {"all_gather": 1, "broadcast": 4}
"""DDP compares shapes, broadcasts the parameters in one piece and the order of buckets and its sizes once these are rebuilt."""

CASES = (
    *(
        Case(
            program="training/activation_checkpointing",
            variant=kind,
            args=("--kind", kind),
            world_size=2,
            operations={"all_gather_into_tensor": 12, "reduce_scatter_tensor": 6},
        )
        for kind in ("reentrant", "non-reentrant", "selective")
    ),
    Case(program="training/average_model", world_size=2, operations={"all_gather": 1, "broadcast": 5, "all_reduce": 3}),
    Case(
        program="training/compiled",
        world_size=2,
        operations={**_DDP_BEGINS, "all_reduce": 2},
        findings=frozenset({"compiled-eagerly"}),
    ),
    Case(
        program="training/cuda_graph",
        world_size=2,
        operations={**_DDP_BEGINS, "all_reduce": 14},
        not_on_gloo=NotOnGloo(why="CUDA graphs are CUDA's", says="graph = torch.cuda.CUDAGraph()"),
    ),
    Case(program="training/custom_operator", world_size=2, operations={**_DDP_BEGINS, "all_reduce": 2}),
    Case(
        program="training/evaluation",
        world_size=2,
        operations={**_DDP_BEGINS, "all_reduce": 8, "barrier": 2},
    ),
    Case(
        program="training/flex_attention",
        world_size=2,
        operations={"all_gather_into_tensor": 2, "reduce_scatter_tensor": 2, "all_reduce": 2},
        findings=frozenset({"compiled-eagerly"}),
        not_on_gloo=NotOnGloo(why="FlexAttention has no backward on the CPU", says="FlexAttention does not support backward on CPU"),
    ),
    Case(
        program="training/gradient_accumulation",
        world_size=2,
        operations={"all_gather_into_tensor": 6, "reduce_scatter_tensor": 2, "all_reduce": 2},
    ),
    Case(program="training/mixed_precision", world_size=2, operations={**_DDP_BEGINS, "all_reduce": 2}),
    Case(program="training/prefetching_thread", world_size=2, operations={**_DDP_BEGINS, "all_reduce": 4}),
    Case(
        program="training/profiled",
        world_size=2,
        operations={**_DDP_BEGINS, "all_reduce": 3, "reduce": 3},
        findings=frozenset({"host-profile-only", "unknown-value"}),
    ),
    Case(
        program="training/saved_and_loaded",
        args=("{directory}",),
        world_size=2,
        operations={"all_gather_into_tensor": 6, "reduce_scatter_tensor": 2, "barrier": 1, "broadcast": 6},
        findings=frozenset({"not-saved", "unknown-value"}),
    ),
)
