"""Fixtures of this directory."""

import pytest

from tests.matching.case import Case
from tests.matching.verdict import Verdict, verdict_on
from tests.shared_results import SharedResults, shared_results

__all__ = ["shared_results", "verdict"]


@pytest.fixture
def verdict(case: Case, shared_results: SharedResults) -> Verdict:
    """The verdict on the case's program."""
    return shared_results.get(f"verdict/{case.name}", lambda: verdict_on(case.program.path, case.world_size))
