"""How far a script runs: what lies after the last step is not checked, and the report says so."""

import json
from typing import Any

from tests.commands import fakerun

PROGRAMS = "tests/programs"


def report_of(program: str, *options: str, expected: int) -> dict[str, Any]:
    result = fakerun(*options, "--format", "json", f"{PROGRAMS}/{program}")
    assert result.returncode == expected, result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_the_report_says_where_the_script_was_stopped() -> None:
    result = fakerun("--nproc-per-node", "4", "--ranks", "all", f"{PROGRAMS}/after_the_last_step.py")
    assert result.returncode == 0, result.stderr
    place = "tests/programs/after_the_last_step.py:17"
    assert f" stopped after step 1 at {place}, what follows was not checked (--steps all) " in " ".join(result.stdout.split())


def test_all_steps_run_the_script_to_its_end() -> None:
    report = report_of("after_the_last_step.py", "--nproc-per-node", "4", "--ranks", "all", "--steps", "all", expected=1)
    assert (report["job"]["steps"], report["job"]["all_steps"]) == (2, True)
    assert [(rank["steps"], rank["stopped_at"]) for rank in report["ranks"]] == [(2, None)] * 4
    errors = [(each["code"], each["ranks"]) for each in report["findings"] if each["severity"] == "error"]
    assert errors == [("extra-collective", [0])]


def test_the_step_that_torch_takes_for_a_checkpoint_is_no_training_step() -> None:
    report = report_of("checkpoint_before_the_first_step.py", "--nproc-per-node", "4", expected=0)
    (rank,) = report["ranks"]
    calls = [(call["step"], call["op"]) for call in rank["collectives"]]
    assert calls == [(step, op) for step in (0, 1) for op in ("all_gather_into_tensor", "reduce_scatter_tensor")]
    assert (rank["steps"], rank["stopped_at"]["line"]) == (2, 20)
