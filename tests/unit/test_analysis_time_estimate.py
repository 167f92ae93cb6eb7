"""What is added to a sum of costs, between which bounds a step lies, and what is said of the figures."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest

from fakerun.analysis.time.costs import Basis, CallCost, OperationKind
from fakerun.analysis.time.estimate import Correction, StepEstimate, estimate_of
from fakerun.analysis.time.remarks import remarks_on_figures
from fakerun.analysis.time.step_time import TimeKind
from fakerun.analysis.time.unknown_calls import calls_without_cost
from fakerun.analysis.time.utilisation import StepFlops, Tokens
from fakerun.records.device_program import Instruction, Opcode
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from tests.unit.estimates_by_hand import estimate, published, rank
from tests.unit.records_by_hand import H100
from tests.unit.steps_by_hand import played


def test_without_published_runs_the_estimate_is_the_sum() -> None:
    found = estimate()
    assert found.correction is Correction.NONE
    assert (found.seconds, found.explained) == pytest.approx((5.0, 1.0))
    assert (found.low_s, found.high_s, found.published) == (None, None, None)
    assert found.range_s == (found.seconds, found.seconds)


def test_the_sum_is_divided_by_the_constant_and_bounded_by_runs_of_the_kind() -> None:
    found = estimate(published(0.7, 0.9, constant=0.8))
    assert found.correction is Correction.PUBLISHED
    assert found.seconds == pytest.approx(5.0 / 0.8)
    assert found.range_s == pytest.approx((found.seconds * 0.8 / 0.9, found.seconds * 0.8 / 0.7))
    assert found.explained == pytest.approx(0.8)
    assert found.not_modelled_s == pytest.approx(1.25)


def test_a_kind_without_published_runs_has_the_constant_and_no_bounds() -> None:
    found = estimate(constant=0.8)
    assert found.correction is Correction.PUBLISHED
    assert found.seconds == pytest.approx(6.25)
    assert (found.published, found.low_s, found.high_s) == (None, None, None)


def test_a_measured_step_goes_before_published_runs() -> None:
    found = estimate(published(0.7), measured_s=5.5)
    assert found.correction is Correction.MEASURED
    assert (found.seconds, found.explained) == pytest.approx((5.5, 5.0 / 5.5))
    assert (found.published, found.low_s) == (None, None)


def test_utilisation_is_of_the_estimate_not_of_the_sum() -> None:
    found = estimate(published(0.8, constant=0.8))
    assert found.figures.mfu == pytest.approx(2e12 / (6.25 * 1e12))
    assert found.figures.tokens_per_s_per_device == pytest.approx(1000 / 6.25 / 2)


def test_modules_and_the_path_are_joined_where_an_index_alone_differs() -> None:
    found = estimate()
    assert [(each.module, each.instances) for each in found.modules] == [("layers.*", 2)]
    assert found.modules[0].seconds == pytest.approx(4.0)
    assert sum(each.seconds for each in found.path) == pytest.approx(found.summed.seconds)
    assert len({(each.kind, each.name, each.module, each.call_site) for each in found.path}) == len(found.path)


def test_a_first_step_says_so() -> None:
    assert any("first step" in remark for remark in estimate(steps=1).remarks)
    assert not any("first step" in remark for remark in estimate().remarks)


def test_products_that_no_table_has_widen_the_bounds() -> None:
    timeline, summed = played(rank(0, 4.0))
    (only,) = timeline.ranks
    for basis, widened in ((Basis.MEASURED, 0.0), (Basis.ROOFLINE, 0.2), (Basis.EXTRAPOLATED, 0.2)):
        costs = [each and replace(each, kind=OperationKind.MATRIX_PRODUCT, basis=basis) for each in only.costs]
        found = estimate_of(
            replace(timeline, ranks=(replace(only, costs=costs),)),
            summed,
            published=published(0.8, constant=0.8),
            constant=0.8,
            measured_s=None,
            flops=StepFlops(model=1, executed=1),
            tokens=Tokens(count=None, origin="none"),
            accelerator=H100,
            world_size=1,
        )
        assert found.range_s == pytest.approx((found.seconds * (1 - widened), found.seconds * (1 + widened)))
        assert any("is not in the tables of this card" in remark for remark in found.remarks) == bool(widened)


def test_members_that_were_not_simulated_are_named() -> None:
    timeline, summed = played(rank(0, 4.0))
    assert summed.unknown_members
    found = estimate_of(
        timeline,
        summed,
        published=None,
        constant=None,
        measured_s=None,
        flops=StepFlops(model=1, executed=1),
        tokens=Tokens(count=None, origin="none"),
        accelerator=H100,
        world_size=2,
    )
    assert any(remark.startswith("other ranks of dp were not simulated") for remark in found.remarks)


def test_calls_on_the_host_are_counted_as_unknown() -> None:
    timeline, summed = played(rank(0, 4.0), rank(1, 2.0))
    slowest = timeline.slowest
    calls = [replace(call, step=step, device=None) for step, call in enumerate(slowest.record.collectives)]
    record = replace(slowest.record, collectives=calls)
    ranks = tuple(replace(each, record=record) if each is slowest else each for each in timeline.ranks)
    found = estimate_of(
        replace(timeline, ranks=ranks),
        summed,
        published=None,
        constant=None,
        measured_s=None,
        flops=StepFlops(model=1, executed=1),
        tokens=Tokens(count=None, origin="none"),
        accelerator=H100,
        world_size=2,
    )
    assert "communication on the host (gloo), 1 to a step, has no known cost and counts as 0 s" in found.remarks
    assert not any("gloo" in remark for remark in estimate().remarks)


def test_what_a_rank_uses_of_several_devices_is_shared_by_them() -> None:
    timeline, summed = played(rank(0, 4.0), rank(1, 2.0))

    def used(devices: tuple[int, ...]) -> tuple[float | None, float | None, float | None]:
        ranks = tuple(replace(each, record=replace(each.record, devices=devices)) for each in timeline.ranks)
        found = estimate_of(
            replace(timeline, ranks=ranks),
            summed,
            published=None,
            constant=None,
            measured_s=None,
            flops=StepFlops(model=2e12, executed=3e12),
            tokens=Tokens(count=1000, origin="as given"),
            accelerator=replace(H100, bfloat16_flops=1e12),
            world_size=2,
        ).utilisation
        return found.mfu, found.hfu, found.tokens_per_s_per_device

    assert used((0,)) == pytest.approx((0.4, 0.6, 100.0))
    assert used((0, 1)) == pytest.approx((0.2, 0.3, 50.0))


def with_unknown_calls(ranks_per_node: int | None, **fields: Any) -> StepEstimate:
    """A step whose call over both ranks has no known cost."""
    timeline, summed = played(rank(0, 4.0), rank(1, 2.0))
    unknown = CallCost(seconds=0.0, basis=Basis.UNKNOWN, multiprocessors=0)
    ranks = tuple(replace(each, calls=replace(each.calls, costs=[unknown for _ in each.calls.costs])) for each in timeline.ranks)
    given: dict[str, Any] = {
        "published": published(0.8, constant=0.8),
        "constant": 0.8,
        "measured_s": None,
        "flops": StepFlops(model=1, executed=1),
        "tokens": Tokens(count=None, origin="none"),
        "accelerator": H100,
        "world_size": 2,
    }
    return estimate_of(replace(timeline, ranks=ranks), summed, **given | fields, ranks_per_node=ranks_per_node)


def test_communication_without_a_known_cost_makes_the_step_a_bound() -> None:
    found = with_unknown_calls(ranks_per_node=1)
    assert found.without == found.figures.without == "communication between nodes"
    assert found.range_s == (found.seconds, inf)
    assert (found.low_s, found.published) == (None, None)
    assert with_unknown_calls(ranks_per_node=2).without == "communication"
    assert with_unknown_calls(ranks_per_node=1, measured_s=9.0).without == ""
    assert estimate(ranks_per_node=1).without == ""


def test_communication_on_the_host_makes_the_step_a_bound_unless_it_is_a_few_bytes() -> None:
    timeline, _ = played(rank(0, 4.0), rank(1, 2.0))

    def without(nbytes: int) -> str:
        ranks = []
        for each in timeline.ranks:
            on_host = replace(each.record.collectives[-1], device=None, step=timeline.step, nbytes=nbytes)
            ranks.append(replace(each, record=replace(each.record, collectives=(*each.record.collectives, on_host))))
        return calls_without_cost(replace(timeline, ranks=tuple(ranks)))

    nbytes = timeline.slowest.record.collectives[-1].nbytes
    assert without(nbytes) == "communication on the host"
    assert without(0) == ""


def test_a_measured_step_that_is_shorter_than_its_flops_allow_is_remarked() -> None:
    assert any("step_s is not possible: the FLOPs of the step take 3 times" in each for each in estimate(measured_s=1.0).remarks)
    assert not any("step_s" in each for each in estimate(measured_s=5.5).remarks)


@pytest.mark.parametrize(("count", "is_apart"), [(1000, False), (1200, False), (500, True), (2000, True)])
def test_tokens_as_given_that_differ_from_those_of_the_models_are_remarked(count: int, is_apart: bool) -> None:
    remarks = estimate(tokens=Tokens(count=count, origin="as given", recorded=1000)).remarks
    assert any("tokens a step as given" in each for each in remarks) == is_apart


def test_products_that_take_what_their_bytes_need_are_measured_where_the_bandwidth_is() -> None:
    timeline, summed = played(rank(0, 4.0))
    (only,) = timeline.ranks
    costs = [each and replace(each, kind=OperationKind.MATRIX_PRODUCT, basis=Basis.ROOFLINE, moves_longer=True) for each in only.costs]
    for share, is_said in ((0.9, False), (None, True)):
        found = estimate_of(
            replace(timeline, ranks=(replace(only, costs=costs),)),
            summed,
            published=None,
            constant=None,
            measured_s=None,
            flops=StepFlops(model=1, executed=1),
            tokens=Tokens(count=None, origin="none"),
            accelerator=replace(H100, memory_share=share),
            world_size=1,
        )
        assert any("is not in the tables of this card" in remark for remark in found.remarks) == is_said


def test_operations_of_which_only_bytes_are_known_are_named() -> None:
    timeline, summed = played(rank(0, 4.0))
    (only,) = timeline.ranks
    for is_least in (True, False):
        costs = [each and replace(each, is_least=is_least) for each in only.costs]
        remarks = tuple(remarks_on_figures(summed, replace(timeline, ranks=(replace(only, costs=costs),)), untabled=0.0))
        said = "of aten._foreach_add_.List and aten.mm.default only the bytes that they move are known: they may take longer"
        assert (said in remarks) == is_least


@pytest.mark.parametrize(("seconds", "is_said"), [(2.0, True), (0.01, False)])
def test_recurrent_layers_that_take_long_are_said_to_be_a_range(seconds: float, is_said: bool) -> None:
    timeline, summed = played(rank(0, 4.0))
    (only,) = timeline.ranks
    program = only.program
    number = only.operations.operations[0]
    operations = tuple(
        replace(each, name="aten._cudnn_rnn.default") if index == number else each for index, each in enumerate(program.operations)
    )
    costs = [each and replace(each, seconds=seconds) for each in only.costs]
    changed = replace(only, record=replace(only.record, program=replace(program, operations=operations)), costs=costs)
    remarks = [each for each in remarks_on_figures(summed, replace(timeline, ranks=(changed,)), untabled=0.0) if "recurrent" in each]
    assert bool(remarks) == is_said


def test_async_tensor_parallelism_is_said_to_be_estimated() -> None:
    timeline, summed = played(rank(0, 4.0))
    (only,) = timeline.ranks
    asked = Finding(code=FindingCode.NOT_OVERLAPPED, message="Overlap in torch.ops.symm_mem.fused_all_gather_matmul is not emulated")
    for findings in ((asked,), ()):
        ranks = (replace(only, record=replace(only.record, findings=findings)),)
        remarks = tuple(remarks_on_figures(summed, replace(timeline, ranks=ranks), untabled=0.0))
        assert any("async tensor parallelism is estimated" in remark for remark in remarks) == bool(findings)


def test_graphs_that_are_not_replayed_yet_are_remarked_where_the_host_takes_most() -> None:
    timeline, summed = played(rank(0, 4.0))
    (only,) = timeline.ranks
    captured, replayed = Instruction(Opcode.BEGIN_CAPTURE), Instruction(Opcode.BEGIN_REPLAY)
    for graphs, host_share, is_said in (
        ((captured,), 0.6, True),
        ((), 0.6, False),
        ((captured,), 0.2, False),
        ((captured, replayed), 0.6, False),
    ):
        program = replace(only.program, instructions=(*only.program.instructions, *graphs))
        ranks = (replace(only, record=replace(only.record, program=program)),)
        slowest = replace(summed.slowest, kinds={**summed.slowest.kinds, TimeKind.HOST: host_share * summed.seconds})
        found = estimate_of(
            replace(timeline, ranks=ranks),
            replace(summed, slowest=slowest),
            published=None,
            constant=None,
            measured_s=None,
            flops=StepFlops(model=1, executed=1),
            tokens=Tokens(count=None, origin="none"),
            accelerator=H100,
            world_size=1,
        )
        assert any("CUDA graphs are captured" in remark for remark in found.remarks) == is_said
