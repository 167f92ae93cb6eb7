"""Fixtures of this directory."""

from collections.abc import Iterator

import pytest

from tests.matching.commands import Commands, commands


@pytest.fixture(scope="session")
def fakerun() -> Iterator[Commands]:
    """The command, started on first use."""
    with commands() as each:
        yield each
