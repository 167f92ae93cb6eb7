"""What `build_report` adds to the results of analyses: classes, groups of failures and findings, devices."""

from dataclasses import replace

from fakerun.analysis.time.estimate import StepEstimate
from fakerun.analysis.traffic import Volume
from fakerun.hardware.catalogue import hardware_named
from fakerun.job.timing import Timing
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.run import AssumedRanks, FailureKind, ModelInput, ProcessFailure, RankRecord
from fakerun.report import build_report
from tests.unit.records_by_hand import GIB, MIB, block, collective, in_order, job, program, run, site
from tests.unit.steps_by_hand import RankByHand

NO = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no", traceback="first")


def test_a_class_has_its_part_of_the_mesh_and_the_volume_of_its_last_step() -> None:
    mesh = Mesh.of({"pp": 2, "dp": 2})
    calls = in_order([collective(step=0, nbytes=8), collective(step=1, nbytes=16), collective(step=2, nbytes=32)])
    ranks = [RankRecord(rank=rank, mesh=mesh, devices=(0,), steps=2, collectives=calls) for rank in (0, 1)]
    other = RankRecord(rank=2, mesh=mesh, devices=(0,), collectives=calls[:1])
    record = replace(run(*ranks, other), assumed=(AssumedRanks(ranks=(3,), representative=2),))
    first, second = build_report(job(), record).classes
    assert (first.ranks, first.simulated, first.assumed, first.mesh_box) == ((0, 1), (0, 1), (), "pp=0")
    assert (second.ranks, second.simulated, second.assumed, second.mesh_box) == ((2, 3), (2,), (3,), "pp=1")
    assert first.last_step == Volume(calls=1, nbytes=16, bus_bytes=24)
    assert second.last_step.calls == 1, "of a rank without a completed step all calls"


def test_without_a_mesh_a_class_has_no_part_of_it() -> None:
    assert build_report(job(), run(RankRecord(rank=0))).classes[0].mesh_box is None


def test_ranks_that_fail_equally_are_one_failure_with_the_first_traceback() -> None:
    records = (
        RankRecord(rank=0, failure=NO),
        RankRecord(rank=1, failure=replace(NO, traceback="second")),
        RankRecord(rank=2, steps=1, failure=NO),
        RankRecord(rank=3, failure=replace(NO, call_site=site("train.py:9"))),
        RankRecord(rank=4, failure=replace(NO, message="other")),
        RankRecord(rank=5),
    )
    report = build_report(job(nproc_per_node=6), run(*records))
    assert [failure.ranks for failure in report.failures] == [(0, 1), (2,), (3,), (4,)]
    assert report.failures[0].failure.traceback == "first"
    assert [failure.steps for failure in report.failures] == [0, 1, 0, 0]
    assert [rank.record.rank for rank in report.failed] == [0, 1, 2, 3, 4]


def test_a_finding_has_all_its_call_sites_in_order() -> None:
    places = (site("train.py:9"), site("train.py:8"), None)
    findings = tuple(Finding(code=FindingCode.UNKNOWN_VALUE, message="made up", call_site=where) for where in places)
    report = build_report(job(), run(RankRecord(rank=0, findings=findings)))
    (grouped,) = report.grouped_findings
    assert grouped.call_sites == (site("train.py:9"), site("train.py:8"))
    assert len(report.findings) == 3


def test_steps_are_those_of_the_slowest_and_the_fastest_rank() -> None:
    assert build_report(job(), run(*(RankRecord(rank=rank, steps=steps) for rank, steps in ((0, 2), (1, 1), (2, 3))))).steps_completed == (
        1,
        3,
    )
    assert build_report(job(), run()).steps_completed == (0, 0)


def test_the_breakdowns_are_those_of_the_peak() -> None:
    blocks = [block(GIB, Category.PARAMETER, module="a"), block(2 * GIB, Category.ACTIVATION, module="b"), block(GIB, module="c")]
    (rank,) = build_report(job(), run(RankRecord(rank=0, devices=(0,), program=program(blocks, [0, 1, ~1, 2])))).ranks
    device = rank.largest_device
    assert device.footprint.peak_bytes == device.fit.peak_bytes == 3 * GIB
    assert {category: nbytes for category, nbytes in device.categories.items() if nbytes} == {
        Category.PARAMETER: GIB,
        Category.ACTIVATION: 2 * GIB,
    }
    assert [share.module for share in device.modules] == ["b", "a"]
    assert [group.module for group in device.tensors] == ["b", "a"]


def test_the_largest_rank_is_the_first_of_equals() -> None:
    small, large = (program([block(nbytes)], [0]) for nbytes in (512, 1024))
    memories = (small, large, large)
    report = build_report(job(), run(*(RankRecord(rank=rank, devices=(rank,), program=memory) for rank, memory in enumerate(memories))))
    assert report.largest is not None
    assert report.largest.record.rank == 1
    assert build_report(job(), run()).largest is None


def test_a_device_that_several_ranks_share_decides_on_the_headroom_of_their_class_and_on_the_rank_to_show() -> None:
    """Ranks 2 and 3 both allocate on cuda:2: what the others have left is not what these have."""
    memory = program([block(GIB)], [0])
    ranks = [RankRecord(rank=rank, devices=(min(rank, 2),), program=memory) for rank in range(4)]
    report = build_report(job(nproc_per_node=4), run(*ranks))
    (only,) = report.classes
    usable = report.job.hardware.usable_bytes
    one = GIB + report.ranks[0].devices[0].need.outside_high_bytes
    assert one > GIB
    assert [rank.headroom_bytes for rank in report.ranks] == [usable - one, usable - one, usable - 2 * one, usable - 2 * one]
    assert only.headroom_bytes == usable - 2 * one
    assert report.largest is not None
    assert report.largest.record.rank == 2


def test_a_device_on_which_a_rank_is_only_assumed_counts_too() -> None:
    memory = program([block(GIB)], [0])
    ranks = [RankRecord(rank=rank, devices=(0,), program=memory) for rank in (0, 1)]
    record = replace(run(*ranks), assumed=(AssumedRanks(ranks=(2, 3), representative=0),))
    report = build_report(job(nproc_per_node=4), record)
    outside_bytes = report.ranks[0].devices[0].need.outside_high_bytes
    assert report.classes[0].headroom_bytes == report.job.hardware.usable_bytes - 4 * (GIB + outside_bytes)


def test_groups_of_one_name_and_size_are_kept_apart_by_their_ranks() -> None:
    calls = in_order([collective(CollectiveOp.ALL_REDUCE, group="undefined", group_ranks=ranks) for ranks in ((0, 1), (0, 2), (0, 1))])
    (rank,) = build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=1, collectives=calls))).ranks
    assert [(group.group_ranks, group.volumes.per_step[0].calls) for group in rank.traffic.groups] == [((0, 1), 2), ((0, 2), 1)]


def test_the_history_goes_on_to_the_peak_of_what_is_reserved() -> None:
    """When each block is freed differs from step to step, so that the first repetition of the last one still reserves more."""
    sizes = 2 * [40 * MIB, 12 * MIB, 20 * MIB]
    growing = program(map(block, sizes), [0, 1, 2, 3, 4, ~1, ~0, 5, ~2], [3, 9])
    report = build_report(job(), run(RankRecord(rank=0, devices=(2,), program=growing)), with_history=True)
    reserved, history = report.ranks[0].devices[0].reserved, report.needed_history
    assert (reserved.per_step_peak_bytes, reserved.repeated_step_peak_bytes) == ((72 * MIB, 124 * MIB), (164 * MIB, 164 * MIB))
    assert history.curve is not None
    assert (history.cuda_index, history.curve.reserved_peak.point.reserved_bytes) == (2, 164 * MIB)
    assert (len(history.curve.step_ends), history.curve.simulated_steps) == (3, 2)


def test_a_history_has_the_settings_of_the_job() -> None:
    record = RankRecord(
        rank=0, devices=(0,), program=program([block(64 * MIB)], [0]), memory_variables={"PYTORCH_ALLOC_CONF": "backend:native"}
    )
    for asked, text in ((None, ""), ("expandable_segments:True", "expandable_segments:True")):
        history = build_report(job(alloc_conf=asked), run(record), with_history=True).needed_history
        assert history.devices[0].settings.text == text


def test_no_history_unless_asked_for() -> None:
    assert build_report(job(), run(RankRecord(rank=0))).history is None


def test_a_model_of_unknown_size_is_not_compared_with_published_runs_of_large_ones() -> None:
    rank = RankByHand(group=(0,))
    for phase, count in ((Phase.FORWARD, 1), (Phase.BACKWARD, 2)):
        rank.phase(phase)
        for _ in range(count):
            rank.operation("aten.mm.default", "bfloat16[4096,4096], bfloat16[4096,4096]", "bfloat16[4096,4096]")
    rank.end_step()

    def is_compared(recorded: int | None, given: int | None = None) -> bool:
        asked = job(nproc_per_node=1, hardware=hardware_named("h100-80gb"), timing=Timing(tokens_per_step=given))
        inputs = () if recorded is None else (ModelInput(step=0, model=0, shape=(1, recorded)),)
        estimate = build_report(asked, run(replace(rank.record(), model_inputs=inputs))).step_time
        assert isinstance(estimate, StepEstimate)
        return estimate.published is not None

    flops = 3 * 2 * 4096**3
    of_large, of_small = int(flops / (6 * 8e9)), int(flops / (6 * 1e8))
    assert is_compared(of_large)
    assert is_compared(of_large, given=of_small)
    assert not is_compared(of_small)
    assert not is_compared(None)
    assert not is_compared(None, given=of_large)
