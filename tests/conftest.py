"""Fixtures of all tests."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_hash_seed() -> Iterator[None]:
    """One hash seed for all ranks: with several, each command of a test would start several fork servers, three seconds each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "0")
        yield
