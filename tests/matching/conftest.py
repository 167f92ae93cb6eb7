"""What the tests of this directory share."""

from collections.abc import Iterator

import pytest

from tests.matching.commands import Commands, commands
from tests.shared_results import shared_results

__all__ = ["fakerun", "shared_results"]


@pytest.fixture(scope="session")
def fakerun() -> Iterator[Commands]:
    """The command. It is loaded when the first test asks for it."""
    with commands() as each:
        yield each
