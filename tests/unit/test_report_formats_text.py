"""The report as text, compared with pages in `golden/`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fakerun.analysis.budgets.check import Check
from fakerun.job.mesh import MeshSpec
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.memory import Category
from fakerun.records.run import AssumedRanks, FailureKind, ProcessFailure, RankRecord
from fakerun.report import Report, build_report
from fakerun.report.formats.text import render
from fakerun.report.formats.text.style import FILE_WIDTH
from fakerun.report.page.detail import Detail
from tests.unit.records_by_hand import GIB, H100, block, collective, in_order, job, llama_8b_job, llama_8b_rank, program, run, site

GOLDEN = Path(__file__).parent / "golden"

TRACEBACK = """\
Traceback (most recent call last):
  File "train.py", line 12, in <module>
    model(tokens)
RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x8 and 16x8)
"""
FAILURE = ProcessFailure(
    kind=FailureKind.EXCEPTION,
    exception="RuntimeError",
    message="mat1 and mat2 shapes cannot be multiplied (4x8 and 16x8)",
    traceback=TRACEBACK,
    call_site=site("train.py:12"),
)


def llama_8b() -> Report:
    return build_report(llama_8b_job(), run(llama_8b_rank()))


def too_large_for_its_accelerator() -> Report:
    note = Finding(
        code=FindingCode.MESH_RESIZED,
        message="the script asks for a mesh of 1 x 8 and gets the job's, 2 x 4",
        call_site=site("scripts/train_tp_fsdp.py:33"),
        hint="leave --mesh out to keep the script's own",
    )
    small = replace(H100, name="rtx4090", usable_bytes=9 * GIB)
    return build_report(replace(llama_8b_job(), hardware=small), run(replace(llama_8b_rank(), findings=(note,))))


def four_ranks_of_which_three_fail() -> Report:
    weights = program([block(GIB, Category.PARAMETER, shape=(16384, 16384), module="layer")], [0])
    calls = in_order([collective(CollectiveOp.BROADCAST, phase=Phase.OTHER)])
    fine = RankRecord(rank=0, devices=(0,), steps=2, collectives=in_order([collective(step=0), collective(step=1)]), program=weights)
    failed = RankRecord(rank=1, devices=(1,), collectives=calls, program=weights, failure=FAILURE)
    killed = ProcessFailure(kind=FailureKind.SIGNAL, exception=None, message="killed by SIGKILL", exit_code=137)
    return build_report(
        job(ranks=(0, 1, 2, 3)),
        run(fine, failed, replace(failed, rank=2, devices=(2,)), RankRecord(rank=3, failure=killed)),
    )


def many_ranks() -> Report:
    """The corners of a large mesh, others assumed, one rank with a failure of its own."""
    mesh = Mesh.of({"pp": 4, "dp": 256, "tp": 2})
    weights = [program([block(size * GIB, Category.PARAMETER, module="layers.0", shape=(size, GIB // 4))], [0]) for size in (2, 1)]

    def simulated(rank: int, **fields: Any) -> RankRecord:
        groups = {"dp": tuple(range(rank // 512 * 512 + rank % 2, rank // 512 * 512 + 512, 2)), "tp": (rank // 2 * 2, rank // 2 * 2 + 1)}
        calls = in_order(
            [
                collective(step=step, group=name, group_ranks=ranks, process_group=f"{name} {ranks[0]}")
                for step in (0, 1)
                for name, ranks in groups.items()
            ]
        )
        own = {"program": weights[rank >= 512], "collectives": calls[: 2 * fields.get("steps", 2)], "steps": 2, **fields}
        return RankRecord(rank=rank, mesh=mesh, devices=(rank % 8,), **own)

    records = [*map(simulated, (0, 3, 515)), simulated(5, steps=1, failure=FAILURE)]
    assumed = (
        AssumedRanks(ranks=tuple(rank for rank in range(1, 512) if rank not in {3, 5}), representative=0),
        AssumedRanks(ranks=tuple(rank for rank in range(512, 2048) if rank != 515), representative=515),
    )
    spec = job(nnodes=256, nproc_per_node=8, mesh=MeshSpec(axes=mesh.axes, sizes=mesh.sizes, named=True))
    report = build_report(spec, replace(run(*sorted(records, key=lambda record: record.rank)), assumed=assumed))
    return replace(report, findings=(), grouped_findings=())  # they are not what is tested


def nothing_happened() -> Report:
    note = Finding(code=FindingCode.NO_PROCESS_GROUP, message="the script never initialised torch.distributed")
    return build_report(job(steps=1), run(RankRecord(rank=0, findings=(note,))))


PAGES: dict[str, Callable[[], Report]] = {
    page.__name__: page for page in (llama_8b, too_large_for_its_accelerator, four_ranks_of_which_three_fail, nothing_happened)
}


@pytest.mark.parametrize("name", PAGES)
def test_page(name: str) -> None:
    assert render(PAGES[name]()) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def traced() -> Report:
    calls = in_order(
        [
            collective(CollectiveOp.BROADCAST, phase=Phase.OTHER, input_sizes=((2,), (3, 4)), output_sizes=((2,), (3, 4)), nbytes=56),
            collective(CollectiveOp.ALL_GATHER, output_sizes=((250,),) * 4, nbytes=4000, module="layers.0", dtype="bfloat16"),
            collective(
                CollectiveOp.BARRIER, step=1, phase=Phase.OTHER, input_sizes=(), output_sizes=(), nbytes=0, dtype="", call_site=None
            ),
        ]
    )
    return build_report(job(steps=1), run(RankRecord(rank=0, devices=(0,), steps=1, collectives=calls)))


def test_trace_has_every_call_in_order() -> None:
    report = traced()
    assert render(report, detail=Detail(trace=True)) == (GOLDEN / "trace.txt").read_text(encoding="utf-8")
    assert "in order" not in render(report)


def test_trace_has_everything_in_a_file_and_says_what_is_missing_in_a_narrow_terminal() -> None:
    place: dict[str, Any] = {"module": "layers.0.feed_forward.w1", "call_site": "scripts/programs/llama/feed_forward.py:88"}
    calls = in_order([collective(step=0, **place), collective(step=1, **place)])
    report = build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=2, collectives=calls)))
    in_a_file = render(report, detail=Detail(trace=True))
    assert in_a_file.count(place["module"]) == in_a_file.count(place["call_site"]) == 2
    narrow = render(report, detail=Detail(trace=True), width=100)
    assert "\nnot shown in 100 columns: module\n" in narrow
    assert narrow.count(" .../feed_forward.py:88\n") == 2
    assert max(map(len, narrow.splitlines())) <= 100


@pytest.mark.parametrize("width", [None, 60, 80, 100, 140])
@pytest.mark.parametrize("name", [*PAGES, "many_ranks"])
def test_page_fits_a_terminal(name: str, width: int | None) -> None:
    lines = render({**PAGES, "many_ranks": many_ranks}[name](), width=width).splitlines()
    own_width = [line for line in lines if line.strip() not in TRACEBACK and line != lines[0]]
    assert max(map(len, own_width)) <= (width or FILE_WIDTH)
    if width != 60:
        assert len(lines) <= 84


@pytest.mark.parametrize("name", [*PAGES, "many_ranks"])
def test_the_summary_is_the_first_and_the_last_line(name: str) -> None:
    lines = render({**PAGES, "many_ranks": many_ranks}[name]()).splitlines()
    assert lines[0] == lines[-1]
    assert lines[0].startswith(("OK  peak", "OK  no device memory", "NOT OK  peak", "SCRIPT FAILED  peak"))


@pytest.mark.parametrize("width", [80, 120])
def test_ranks_of_a_large_job(width: int) -> None:
    page = render(many_ranks(), width=width)
    assert page == (GOLDEN / f"many_ranks_{width}.txt").read_text(encoding="utf-8")
    assert max(map(len, page.splitlines())) <= width


@pytest.mark.parametrize("width", [80, 140])
def test_page_uses_the_width_of_the_terminal(width: int) -> None:
    page = render(too_large_for_its_accelerator(), width=width)
    assert page == (GOLDEN / f"too_large_for_its_accelerator_{width}.txt").read_text(encoding="utf-8")


def test_colour_only_where_allowed() -> None:
    report = too_large_for_its_accelerator()
    assert "\x1b[" not in render(report)
    coloured = render(report, color=True)
    assert "\x1b[1;31mDOES NOT FIT" in coloured


def test_only_finished_steps_count_as_steps() -> None:
    calls = in_order([collective(step=0), collective(step=1)])
    page = render(build_report(job(), run(RankRecord(rank=0, devices=(0,), steps=1, collectives=calls))))
    assert "1 of 2 steps" in page
    assert "after step 0" in page


def test_steps_in_between_are_not_hidden() -> None:
    calls = in_order(collective(step=step, nbytes=100 + step) for step in range(4))
    page = render(build_report(job(steps=4), run(RankRecord(rank=0, devices=(0,), steps=4, collectives=calls))))
    assert "steps 0 and 3 of 4" in page


def test_operations_of_other_steps_are_named() -> None:
    calls = in_order([collective(step=step) for step in range(4)] + [collective(CollectiveOp.BROADCAST, step=1, dtype="int32")])
    page = render(build_report(job(steps=4), run(RankRecord(rank=0, devices=(0,), steps=4, collectives=calls))))
    assert "in other steps only: broadcast int32 on dp (4)" in page


def test_a_finding_at_several_call_sites_is_one() -> None:
    notes = [
        Finding(code=FindingCode.UNKNOWN_VALUE, message="made up", call_site=site(where), hint="beware")
        for where in ("train.py:8", "train.py:9")
    ]
    other = replace(notes[0], message="something else")
    page = render(build_report(job(), run(RankRecord(rank=0, findings=(notes[0], other, notes[1])))))
    assert (
        "\nFindings\n"
        "note  unknown-value  at train.py:8, train.py:9\n  made up\n  hint: beware\n"
        "note  unknown-value  at train.py:8\n  something else\n  hint: beware\n\n"
    ) in page


def test_an_interruption_is_no_failure_of_the_script() -> None:
    failure = replace(FAILURE, kind=FailureKind.INTERRUPTED, exception="KeyboardInterrupt", message="interrupted at train.py:12")
    page = render(build_report(job(), run(RankRecord(rank=0, failure=failure))))
    assert "INTERRUPTED  rank 0, step 0: interrupted at train.py:12\n" in page


def test_no_rank_at_all() -> None:
    assert "simulated  no rank, 0 of 2 steps" in render(build_report(job(), run()))


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_check_with_much_to_say_fits_the_terminal(width: int) -> None:
    """As one against a baseline, whose measured value is a sentence; the finding has all of it."""
    drifted = Check(
        name="baseline.calls",
        subject="",
        limit="1% allocated, 1% reserved",
        measured="broadcast on world in forward of Sequential instead of Linear (1 call), and some more that was not there before",
        passed=False,
        source="fakerun.yaml:12",
    )
    lines = render(replace(llama_8b(), checks=(drifted,)), width=width).splitlines()
    (row,) = (line for line in lines if line.startswith("baseline.calls"))
    assert len(row) <= width
    assert row.endswith("FAILED") or "FAILED  " in row
