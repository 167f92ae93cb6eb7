"""Checks of values that were not computed, and failures after them: exit code and message, through the command."""

import json

from tests.commands import REPOSITORY, fakerun

PROGRAMS = REPOSITORY / "tests" / "programs"


def test_a_check_of_device_values_passes() -> None:
    result = fakerun("--nproc-per-node", "4", "--format", "json", str(PROGRAMS / "assert_on_device_tensor.py"))
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    (check,) = (finding for finding in report["findings"] if finding["code"] == "assumed-check")
    assert (check["severity"], check["call_site"]["line"]) == ("note", 17)
    assert [rank["steps"] for rank in report["ranks"]] == [2] * len(report["ranks"])


def test_a_failure_that_follows_from_a_placeholder_is_not_the_scripts() -> None:
    result = fakerun(str(PROGRAMS / "fails_after_a_placeholder.py"), "--world-size", "1", "--", "because")
    assert result.returncode == 4, result.stdout
    assert (
        "the loss grows. It follows from a value that was made up: tests/programs/fails_after_a_placeholder.py:7 reads the value of a "
        "device tensor, which a dry run does not compute. Skip what depends on the value in a dry run"
    ) in " ".join(result.stdout.split())


def test_a_failure_of_the_scripts_own_names_the_placeholders() -> None:
    result = fakerun(str(PROGRAMS / "fails_after_a_placeholder.py"), "--world-size", "1", "--", "anyway")
    assert result.returncode == 3, result.stdout
    assert (
        "KeyError: 'missing' Before it failed, rank 0 had read values that a dry run does not compute, at "
        "tests/programs/fails_after_a_placeholder.py:7: the failure may follow from them."
    ) in " ".join(result.stdout.split())
