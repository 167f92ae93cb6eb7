"""Which kind of run a record shows."""

import pytest

from fakerun.analysis.time.published_error import RunFeature, RunKind
from fakerun.analysis.time.run_kind import run_kind
from fakerun.hardware.catalogue import hardware_named
from fakerun.records.collective import CollectiveOp, CollectiveRecord
from fakerun.records.device_program import DeviceProgram, DeviceStream, Instruction, Opcode, Operation, program_of
from fakerun.records.run import RankRecord
from tests.unit.records_by_hand import collective

LARGE = 6 * 8e9


def program(*operators: str, opcode: Opcode = Opcode.SYNCHRONIZE) -> DeviceProgram:
    operations = [Operation(f"aten.{operator}.default", "") for operator in operators]
    return program_of((), [Instruction(opcode)], operations=operations, streams=(DeviceStream(device=0),))


@pytest.mark.parametrize(
    ("record", "calls", "features"),
    [
        (program("mm"), (), set()),
        (program("mm", "_scaled_mm"), (), {RunFeature.FLOAT8}),
        (program("_grouped_mm"), (), {RunFeature.EXPERTS}),
        (program("_scaled_grouped_mm"), (), {RunFeature.EXPERTS, RunFeature.FLOAT8}),
        (program("mm", opcode=Opcode.BEGIN_COMPILED), (), {RunFeature.COMPILED}),
        (program("mm"), (collective(CollectiveOp.SEND),), {RunFeature.PIPELINE}),
        (program("mm"), (collective(),), set()),
    ],
)
def test_features(record: DeviceProgram, calls: tuple[CollectiveRecord, ...], features: set[RunFeature]) -> None:
    found = run_kind([RankRecord(rank=0, program=record, collectives=calls)], hardware_named("h100-80gb"), LARGE)
    assert found == RunKind(generation=9, features=frozenset(features))


def test_one_rank_with_a_feature_makes_the_run_so() -> None:
    records = [RankRecord(rank=0, program=program("mm")), RankRecord(rank=1, program=program("_scaled_mm"))]
    assert run_kind(records, hardware_named("h100-80gb"), LARGE).features == {RunFeature.FLOAT8}


@pytest.mark.parametrize(("flops_per_token", "is_small"), [(6 * 124e6, True), (6 * 1.2e9, False)])
def test_small_models(flops_per_token: float, is_small: bool) -> None:
    found = run_kind([RankRecord(rank=0)], hardware_named("h100-80gb"), flops_per_token)
    assert (RunFeature.SMALL in found.features) == is_small


def test_no_generation_of_nvidias_is_amds() -> None:
    assert run_kind([RankRecord(rank=0)], hardware_named("mi300x"), LARGE).generation not in range(7, 13)
