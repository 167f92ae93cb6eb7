"""Model FLOPs, MFU, HFU and tokens of a step, against figures worked out by hand."""

from dataclasses import replace
from typing import Any

import pytest

from fakerun.analysis.time.costs import Basis, OperationCost, OperationKind
from fakerun.analysis.time.utilisation import StepFlops, Tokens, mean_flops, step_flops, tokens_of_step, utilisation
from fakerun.hardware.catalogue import hardware_named
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.run import ModelInput, RankRecord
from tests.unit.records_by_hand import H100, collective

PRODUCT, OTHER, VIEW = (Operation(name, "") for name in ("aten.mm.default", "aten.add.Tensor", "aten.view.default"))
PHASES = list(Phase)


def cost(operation: Operation) -> OperationCost | None:
    """A product has 100 FLOPs, an addition none, a view no kernel."""
    if operation == VIEW:
        return None
    return OperationCost(kind=OperationKind.MATRIX_PRODUCT, seconds=1e-3, basis=Basis.ROOFLINE, full_flops=100 * (operation == PRODUCT))


def step_of(*parts: tuple[Phase, int]) -> list[Instruction]:
    """A step that executes so many products in each phase, and an addition and a view."""
    issued = []
    for phase, products in parts:
        issued.append(Instruction(Opcode.BEGIN_PHASE, PHASES.index(phase)))
        issued += [Instruction(Opcode.EXECUTE, number) for number in (*[0] * products, 1, 2)]
    return issued


def program(*steps: list[Instruction]) -> DeviceProgram:
    ends = [sum(map(len, steps[: number + 1])) for number in range(len(steps))]
    return program_of(
        (),
        [instruction for step in steps for instruction in step],
        operations=(PRODUCT, OTHER, VIEW),
        streams=(DeviceStream(device=0),),
        step_ends=ends,
    )


@pytest.mark.parametrize(
    ("backward", "model", "executed"),
    [(20, 3000, 3000), (30, 3000, 4000), (25, 3000, 3500), (10, 2000, 2000)],
    ids=["plain", "all computed again", "half computed again", "frozen weights"],
)
def test_what_is_computed_again_is_executed_and_not_of_the_model(backward: int, model: int, executed: int) -> None:
    steps = step_of((Phase.FORWARD, 3)), step_of((Phase.FORWARD, 10), (Phase.BACKWARD, backward), (Phase.OPTIMIZER, 0))
    assert step_flops(program(*steps), 1, cost) == StepFlops(model=model, executed=executed)


def test_a_step_that_begins_in_a_phase_goes_on_in_it() -> None:
    steps = step_of((Phase.FORWARD, 1)), step_of((Phase.FORWARD, 2))[1:]
    assert step_flops(program(*steps), 1, cost) == StepFlops(model=200, executed=200)


def test_what_the_optimizer_multiplies_is_not_of_the_model() -> None:
    step = step_of((Phase.FORWARD, 1), (Phase.BACKWARD, 2), (Phase.OPTIMIZER, 5))
    assert step_flops(program(step), 0, cost) == StepFlops(model=300, executed=800)


def test_utilisation_is_held_against_the_dense_rate_of_bfloat16() -> None:
    card = replace(H100, bfloat16_flops=1000.0, float8_flops=2000.0)
    flops = [(StepFlops(model=3000, executed=4000), 3), (StepFlops(model=1000, executed=2000), 1)]
    assert mean_flops(flops) == StepFlops(model=2500, executed=3500)
    found = utilisation(4.0, mean_flops(flops), Tokens(count=64, origin=""), card, world_size=8)
    assert found.peak_dtype == "bfloat16"
    assert (found.mfu, found.hfu) == (2500 / 4000, 3500 / 4000)
    assert (found.tokens_per_s, found.tokens_per_s_per_device) == (16.0, 2.0)


def test_a_card_without_bfloat16_is_held_against_float16() -> None:
    found = utilisation(1.0, StepFlops(model=1, executed=1), Tokens(count=None, origin="none"), hardware_named("v100-32gb"), world_size=1)
    assert (found.peak_dtype, found.tokens_per_s) == ("float16", None)


def test_a_card_of_unknown_rates_has_no_utilisation() -> None:
    found = utilisation(1.0, StepFlops(model=1, executed=1), Tokens(count=None, origin="none"), H100, world_size=1)
    assert (found.mfu, found.hfu, found.flops.model) == (None, None, 1)


def rank(*inputs: ModelInput, **fields: Any) -> RankRecord:
    return replace(RankRecord(rank=0, steps=2, model_inputs=inputs), **fields)


def given(*shape: int, step: int = 1, model: int = 0, calls: int = 1) -> ModelInput:
    return ModelInput(step=step, model=model, shape=shape, calls=calls)


WORLD = collective(op=CollectiveOp.ALL_GATHER_INTO_TENSOR, group="world", group_ranks=(0, 1, 2, 3), phase=Phase.FORWARD)


@pytest.mark.parametrize(
    ("mesh", "ranks"),
    [
        ({"dp": 4}, 4),
        ({"dp": 2, "tp": 2}, 2),
        ({"pp": 2, "dp_replicate": 1, "dp_shard": 2}, 2),
        ({"dp_shard": 2, "cp": 2}, 4),
        ({"tp": 4}, 1),
        ({"mine": 4}, 4),
    ],
    ids=str,
)
def test_tokens_are_those_of_a_rank_times_the_ranks_with_other_data(mesh: dict[str, int], ranks: int) -> None:
    record = rank(given(9, 9, step=0), given(2, 8), given(2, 8, step=2, calls=5), collectives=(WORLD,))
    found = tokens_of_step([record], Mesh.of(mesh), 4)
    assert found.count == 16 * ranks
    assert found.origin.startswith("rank 0's model is given 2x8")


def test_microbatches_and_shapes_add_up_and_models_do_not() -> None:
    record = rank(given(2, 8, calls=3), given(1, 4), given(2, 8, model=1))
    assert tokens_of_step([record], None, 1) == Tokens(count=52, origin="rank 0's model is given 2x8 3 times and 1x4")


def test_a_later_stage_is_given_no_tokens() -> None:
    records = [RankRecord(rank=0, steps=2), rank(given(2, 8), rank=1)]
    assert tokens_of_step(records, Mesh.of({"pp": 2}), 2).count == 16


def test_a_step_that_is_replayed_has_the_tokens_of_the_one_before() -> None:
    assert tokens_of_step([rank(given(2, 8, step=0))], None, 1).count == 16


@pytest.mark.parametrize(
    ("record", "mesh", "why"),
    [
        (rank(), None, "no model is given whole numbers"),
        (rank(given(2, 8, step=2)), None, "no model is given whole numbers"),
        (rank(given(2, 8)), None, "the ranks communicate nothing"),
        (rank(given(2, 8), collectives=(replace(WORLD, group_ranks=(0, 1)),)), None, "no mesh that says which ranks"),
        (rank(given(2, 8), collectives=(replace(WORLD, op=CollectiveOp.ALL_REDUCE),)), None, "forward adds up results of all ranks"),
        (rank(given(2, 8), collectives=(replace(WORLD, op=CollectiveOp.REDUCE_SCATTER_TENSOR),)), None, "forward adds up results"),
        (rank(given(2, 8), collectives=(WORLD, replace(WORLD, op=CollectiveOp.SEND, peer=1))), None, "stages of a pipeline"),
        (rank(given(2, 8), collectives=(WORLD,)), Mesh.of({"a": 2, "b": 2}), "the ranks along a and b"),
    ],
)
def test_tokens_that_are_not_known_have_a_reason(record: RankRecord, mesh: Mesh | None, why: str) -> None:
    found = tokens_of_step([record], mesh, 4)
    assert found.count is None
    assert why in found.origin
