"""The table report, against pages written down in `golden/`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.finding import Finding, Severity
from fakerun.records.memory import Category
from fakerun.records.run import FailureKind, ProcessFailure, RankRecord
from fakerun.report import Report, build_report
from fakerun.report.style import WIDTH
from fakerun.report.table import render
from tests.unit.records_by_hand import GIB, H100, block, collective, in_order, job, llama_8b_job, llama_8b_rank, run, timeline

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
    call_site="train.py:12",
)


def llama_8b() -> Report:
    return build_report(llama_8b_job(), run(llama_8b_rank()))


def too_large_for_its_accelerator() -> Report:
    note = Finding(
        code="mesh-resized",
        severity=Severity.NOTE,
        message="the script asks for a mesh of 1 x 8 and gets the job's, 2 x 4",
        call_site="scripts/train_tp_fsdp.py:33",
        hint="leave --mesh out to keep the script's own",
    )
    small = replace(H100, name="rtx4090", usable_bytes=9 * GIB)
    return build_report(replace(llama_8b_job(), hardware=small), run(replace(llama_8b_rank(), findings=(note,))))


def four_ranks_of_which_three_fail() -> Report:
    weights = timeline([block(GIB, Category.PARAMETER, shape=(16384, 16384), module="layer")], [0])
    calls = in_order([collective(CollectiveOp.BROADCAST, phase=Phase.OTHER)])
    fine = RankRecord(rank=0, steps=2, collectives=in_order([collective(step=0), collective(step=1)]), memory=weights)
    failed = RankRecord(rank=1, collectives=calls, memory=weights, failure=FAILURE)
    killed = ProcessFailure(kind=FailureKind.SIGNAL, exception=None, message="killed by SIGKILL", exit_code=137)
    return build_report(
        job(ranks=(0, 1, 2, 3)),
        run(fine, failed, replace(failed, rank=2), RankRecord(rank=3, failure=killed)),
    )


def nothing_happened() -> Report:
    note = Finding(code="no-process-group", severity=Severity.WARNING, message="the script never initialised torch.distributed")
    return build_report(job(steps=1), run(RankRecord(rank=0, findings=(note,))))


PAGES: dict[str, Callable[[], Report]] = {
    page.__name__: page for page in (llama_8b, too_large_for_its_accelerator, four_ranks_of_which_three_fail, nothing_happened)
}


@pytest.mark.parametrize("name", PAGES)
def test_page(name: str) -> None:
    assert render(PAGES[name]()) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_trace_has_every_call_in_order() -> None:
    calls = in_order(
        [
            collective(CollectiveOp.BROADCAST, phase=Phase.OTHER, input_sizes=((2,), (3, 4)), output_sizes=((2,), (3, 4)), nbytes=56),
            collective(CollectiveOp.ALL_GATHER, output_sizes=((250,),) * 4, nbytes=4000, module="layers.0", dtype="bfloat16"),
            collective(
                CollectiveOp.BARRIER, step=1, phase=Phase.OTHER, input_sizes=(), output_sizes=(), nbytes=0, dtype="", call_site=None
            ),
        ]
    )
    report = build_report(job(steps=1), run(RankRecord(rank=0, steps=1, collectives=calls)))
    page = render(report, trace=True)
    assert page == (GOLDEN / "trace.txt").read_text(encoding="utf-8")
    assert "in order" not in render(report)


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_terminal(name: str) -> None:
    lines = render(PAGES[name]()).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= 50


def test_colour_only_where_allowed() -> None:
    report = too_large_for_its_accelerator()
    assert "\x1b[" not in render(report)
    coloured = render(report, color=True)
    assert "\x1b[1;31mDOES NOT FIT" in coloured


def test_only_finished_steps_count_as_steps() -> None:
    calls = in_order([collective(step=0), collective(step=1)])
    page = render(build_report(job(), run(RankRecord(rank=0, steps=1, collectives=calls))))
    assert "1 of 2 steps" in page
    assert "after step 0" in page


def test_steps_in_between_are_not_hidden() -> None:
    calls = in_order(collective(step=step, nbytes=100 + step) for step in range(4))
    page = render(build_report(job(steps=4), run(RankRecord(rank=0, steps=4, collectives=calls))))
    assert "steps 0 and 3 of 4" in page


def test_no_rank_at_all() -> None:
    assert "simulated ranks none" in render(build_report(job(), run()))
