"""Progress where there is no terminal: the first rank that fails, and why; a rank of which there is no news."""

from dataclasses import replace

import pytest

from fakerun.cli.progress import Progress
from fakerun.records.position import RankPosition
from fakerun.records.run import FailureKind, ProcessFailure
from tests.unit.records_by_hand import llama_8b_rank, site

MESSAGES = {
    "KeyError: 1": ProcessFailure(kind=FailureKind.EXCEPTION, exception="KeyError", message="1"),
    "ValueError: two": ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="two\nlines"),
    "AssertionError": ProcessFailure(kind=FailureKind.EXCEPTION, exception="AssertionError", message="AssertionError"),
    "exited with status 3": ProcessFailure(kind=FailureKind.EXIT, exception=None, message="exited with status 3"),
    "no GPU here": ProcessFailure(kind=FailureKind.GAP, exception="EmulationGapError", message="no GPU here"),
}


@pytest.mark.parametrize(("message", "failure"), MESSAGES.items(), ids=MESSAGES)
def test_the_first_rank_that_fails_is_named_with_pythons_message(
    message: str, failure: ProcessFailure, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(has_terminal=False)
    progress.planned((0, 1, 2))
    for number, outcome in ((0, None), (2, failure), (1, failure)):
        progress.ended(replace(llama_8b_rank(number), failure=outcome))
    assert capsys.readouterr().err == f"fakerun: rank 2 failed first: {message}\n"


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (
            RankPosition(steps=1, events=9, call_site=site("train.py:12")),
            "rank 3 is still at train.py:12, in step 1: no collective, allocation or step for 61 s",
        ),
        (None, "rank 3 has not said where it is: no collective, allocation or step for 61 s"),
    ],
)
def test_silence_of_a_rank(position: RankPosition | None, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Progress(has_terminal=False).silent(3, position, 61.2)
    assert capsys.readouterr().err == f"fakerun: {message}\n"
