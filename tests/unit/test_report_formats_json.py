"""The JSON report: the documented keys in the documented order, exact values, reproducible bytes."""

import json
from pathlib import Path

from fakerun.job.mesh import MeshSpec
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from fakerun.report import Report, build_report
from fakerun.report.formats.json import as_document, render
from fakerun.report.page.detail import Detail
from tests.unit.records_by_hand import block, collective, in_order, job, llama_8b_job, llama_8b_rank, program, run, site

GOLDEN = Path(__file__).parent / "golden"


def small() -> Report:
    calls = in_order(
        [
            collective(CollectiveOp.BROADCAST, phase=Phase.OTHER, root=0, call_site=site("train.py:9")),
            collective(reduce_op="sum", is_async=True, module="layers.0"),
            collective(CollectiveOp.SEND, step=1, peer=1, group="pp", group_ranks=(0, 1), tag=7),
        ]
    )
    blocks = [
        block(1000, Category.PARAMETER, module="layers.0", shape=(250,)),
        block(1000, Category.PARAMETER, module="layers.1", shape=(250,)),
        block(4096, Category.ACTIVATION, phase=Phase.FORWARD, module="layers.1", shape=(16, 64), call_site=site("train.py:12")),
    ]
    note = Finding(code=FindingCode.MESH_RESIZED, message="resized", call_site=site("train.py:4"), hint="drop --mesh")
    fine = RankRecord(
        rank=0,
        mesh=Mesh.of({"dp": 4}),
        steps=2,
        collectives=calls,
        program=program(blocks, [0, 1, 2, ~2], [2, 4]),
        devices=(0,),
        findings=(note,),
        stopped_at=site("train.py:30"),
    )
    failure = ProcessFailure(
        kind=FailureKind.EXCEPTION,
        exception="ValueError",
        message="no",
        traceback="...\nValueError: no\n",
        placeholder_reads=(site("train.py:11"),),
    )
    return build_report(job(args=("--lr", "0.1"), ranks=(0, 1)), run(fine, RankRecord(rank=1, failure=failure, findings=(note,))))


def test_exact_text() -> None:
    assert render(small()) == (GOLDEN / "small.json").read_text(encoding="utf-8")


def test_text_is_the_document() -> None:
    for report in (small(), build_report(llama_8b_job(), run(llama_8b_rank())), build_report(job(), run())):
        assert json.loads(render(report)) == as_document(report)


def test_same_records_give_the_same_bytes() -> None:
    first, second = (render(build_report(llama_8b_job(), run(llama_8b_rank(0), llama_8b_rank(5)))) for _ in range(2))
    assert first == second


def test_every_call_is_in_it_with_or_without_trace() -> None:
    assert render(small(), detail=Detail(trace=True), color=True) == render(small())


def test_collective_calls_are_one_line_each() -> None:
    lines = render(build_report(llama_8b_job(), run(llama_8b_rank()))).splitlines()
    assert sum('"seq":' in line for line in lines) == len(llama_8b_rank().collectives)


def test_text_is_ascii_for_any_path() -> None:
    assert render(build_report(job(args=("caf\u00e9", "\udcff")), run())).isascii()


def test_ranks_come_in_order() -> None:
    assert [rank["rank"] for rank in as_document(build_report(job(), run(RankRecord(rank=2), RankRecord(rank=0))))["ranks"]] == [0, 2]


def test_a_rank_without_memory_has_no_peak() -> None:
    memory = as_document(build_report(job(), run(RankRecord(rank=0))))["ranks"][0]["memory"]
    assert memory["peak_allocated_bytes"] == 0
    assert memory["peak_at"] is None
    assert set(memory["at_peak"].values()) == {0}
    assert memory["per_step_peak_bytes"] == []


def test_a_module_is_named_as_one() -> None:
    described = as_document(build_report(job(script=None, module="pkg.train"), run()))["job"]
    assert (described["script"], described["module"]) == (None, "pkg.train")


def test_mesh_named_by_the_user_is_the_jobs() -> None:
    mesh = MeshSpec(axes=("pp", "dp"), sizes=(2, 2), named=True)
    report = build_report(job(mesh=mesh), run(RankRecord(rank=3)))
    assert report.mesh == Mesh.of({"pp": 2, "dp": 2})
    assert report.ranks[0].coordinate == {"pp": 1, "dp": 1}


def test_mesh_given_by_sizes_takes_the_scripts_names() -> None:
    mesh = MeshSpec(axes=("dp", "tp"), sizes=(2, 2), named=False)
    assert build_report(job(mesh=mesh), run(RankRecord(rank=0))).mesh == Mesh.of({"dp": 2, "tp": 2})
    named = RankRecord(rank=0, mesh=Mesh.of({"replicate": 2, "shard": 2}))
    assert build_report(job(mesh=mesh), run(named)).mesh == Mesh.of({"replicate": 2, "shard": 2})


def test_no_mesh() -> None:
    assert as_document(build_report(job(), run(RankRecord(rank=0))))["job"]["mesh"] == {}
