"""Fixtures of this directory."""

from collections.abc import Iterator

import pytest

from tests.matching.case import Bug, Report
from tests.matching.commands import Commands, Verdict, commands
from tests.shared_results import SharedResults, shared_results

__all__ = ["fakerun", "shared_results", "verdict"]


@pytest.fixture(scope="session")
def fakerun() -> Iterator[Commands]:
    """The command, started on first use."""
    with commands() as each:
        yield each


@pytest.fixture
def verdict(case: Bug | Report, fakerun: Commands, shared_results: SharedResults) -> Verdict:
    """The verdict on the case's program."""
    return shared_results.get(f"verdict/{case.name}", lambda: fakerun.verdict(case.program.path, case.world_size))
