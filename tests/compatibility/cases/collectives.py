"""Every call of torch.distributed that communicates, and the groups to call it in."""

from tests.compatibility.case import NO_OPTIMIZER_STEP, Case

CASES = (
    Case(program="collectives/all_reduce", world_size=2, operations={"all_reduce": 14}, findings=NO_OPTIMIZER_STEP),
    Case(
        program="collectives/all_to_all",
        world_size=2,
        operations={"all_to_all": 1, "all_to_all_single": 2},
        findings=NO_OPTIMIZER_STEP,
    ),
    Case(
        program="collectives/subgroups",
        world_size=4,
        operations=(
            {"all_reduce": 2, "broadcast": 1},
            {"all_reduce": 1, "broadcast": 1},
            {"all_reduce": 1, "broadcast": 1},
            {"all_reduce": 2, "broadcast": 1},
        ),
        findings=NO_OPTIMIZER_STEP,
    ),
)
