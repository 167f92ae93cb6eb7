"""The pytest plugin: the mark `fakerun`, and the fixtures `fake_world` and `fakerun_check`.

pytest loads it in every run where fakerun is installed, so it must not import torch.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from fakerun.errors import UsageError
from fakerun.testing.world import FakeWorld, with_dist

if TYPE_CHECKING:
    from fakerun.report import Report
    from fakerun.testing.budgets import AskedOfTest

MARK = "fakerun"


class StartWorld(Protocol):
    """The value of `fake_world`: takes the arguments of `with_dist`, starts a world and returns it."""

    def __call__(self, rank: int = 0, world_size: int | None = None, **options: Any) -> FakeWorld: ...


class CheckJob(Protocol):
    """The value of `fakerun_check`: runs a job of a job file and returns its report; the test fails with what the job does not keep."""

    def __call__(self, name: str, *, file: Path | None = None) -> "Report": ...


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    arguments = "rank=0, world_size=None, mesh=None, hardware=..., backend=..., **budgets"
    config.addinivalue_line(
        "markers", f"{MARK}({arguments}): run the test as one rank of a fake world, and hold it against budgets named as in a job file"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Run a test that has the mark in a fake world; after it, fail it with the budgets that it did not keep."""
    mark = item.get_closest_marker(MARK)
    if mark is None:
        return (yield)
    from fakerun.testing.budgets import broken_budgets  # pydantic: most tests have no mark

    asked = _asked(item, mark)
    with with_dist(**asked.world) as world:
        result = yield
    if broken := broken_budgets(world, asked.budgets):
        pytest.fail(broken, pytrace=False)
    return result


def _asked(item: pytest.Item, mark: pytest.Mark) -> "AskedOfTest":
    from fakerun.testing.budgets import asked_of_test

    path, line, _ = item.location
    try:
        return asked_of_test(mark.args, mark.kwargs, source=f"{path}:{(line or 0) + 1}")
    except UsageError as error:
        wrong = str(error)
    pytest.fail(wrong, pytrace=False)


@pytest.fixture
def fake_world() -> Iterator[StartWorld]:
    """Starts worlds that end with the test; takes the arguments of `with_dist`."""
    with ExitStack() as stack:

        def start(rank: int = 0, world_size: int | None = None, **options: Any) -> FakeWorld:
            return stack.enter_context(with_dist(rank, world_size, **options))

        yield start


@pytest.fixture
def fakerun_check(request: pytest.FixtureRequest) -> CheckJob:
    """Runs a job by its name: of the file, or of the job file of the test's directory or the nearest above."""

    def check(name: str, *, file: Path | None = None) -> "Report":
        from fakerun.testing.jobs import checked_job  # pydantic, again
        from fakerun.testing.verdict import told_of

        try:
            report = checked_job(name, file, request.path.parent)
            told = told_of(name, report)
        except UsageError as error:
            told = str(error)
        if told:
            pytest.fail(told, pytrace=False)
        return report

    return check
