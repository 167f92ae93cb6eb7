"""The `baseline` of a job file: a path, or a mapping with tolerances."""

import pytest

from fakerun.errors import UsageError
from fakerun.job.baseline import BaselineOfJob, baseline_of_job
from fakerun.job.tolerances import DEFAULT_TOLERANCES


def test_a_path_has_the_default_tolerances() -> None:
    assert baseline_of_job("known.yaml") == BaselineOfJob(path="known.yaml", tolerances=DEFAULT_TOLERANCES)


def test_tolerances_are_shares_amounts_or_exact() -> None:
    given = baseline_of_job({"path": "known.yaml", "tolerances": {"allocated": "2.5%", "reserved": "64MiB", "modules": "exact"}}).tolerances
    assert given.allocated.allows(1000, 1025)
    assert not given.allocated.allows(1000, 1026)
    assert given.reserved.allows(0, 64 * 1024**2)
    assert not given.modules.allows(1000, 1001)
    assert given.messages == DEFAULT_TOLERANCES.messages


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1], "must be the path of a file, or a mapping with path and tolerances, not a list"),
        ("", "must be the path of a file, or a mapping with path and tolerances, not the string ''"),
        ({"pth": "x"}, "unknown key pth (did you mean 'path'?); allowed: path, tolerances"),
        ({"path": 3}, "path: must be the path of a file, not the number 3"),
        ({"tolerances": 3}, "tolerances: must be a mapping, as in {allocated: 2%}, not the number 3"),
        (
            {"tolerances": {"alocated": "1%"}},
            "tolerances: unknown quantity alocated (did you mean 'allocated'?); "
            "allowed: allocated, reserved, categories, modules, parameters, messages",
        ),
        (
            {"tolerances": {"allocated": 1}},
            "tolerances.allocated: must be exact, a share (2%) or an amount of memory (64MiB), not the number 1",
        ),
        (
            {"tolerances": {"allocated": "-1%"}},
            "tolerances.allocated: must be exact, a share (2%) or an amount of memory (64MiB), not the string '-1%'",
        ),
    ],
)
def test_bad_values(value: object, message: str) -> None:
    with pytest.raises(UsageError) as error:
        baseline_of_job(value)
    assert str(error.value) == message
