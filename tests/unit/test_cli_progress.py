"""Progress where there is no terminal: the first rank that fails, and why."""

from dataclasses import replace

import pytest

from fakerun.cli.progress import Progress
from fakerun.records.run import FailureKind, ProcessFailure
from tests.unit.records_by_hand import llama_8b_rank

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
