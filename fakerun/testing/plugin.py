"""The pytest plugin: the fixture `fake_world`. pytest loads it in every run where fakerun is installed, so it must not import torch."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from fakerun.testing.world import FakeWorld, with_dist


class StartWorld(Protocol):
    """The value of the fixture: takes the arguments of `with_dist`, starts a world and returns it."""

    def __call__(self, rank: int = 0, world_size: int | None = None, **options: Any) -> FakeWorld: ...


@pytest.fixture
def fake_world() -> Iterator[StartWorld]:
    """Starts worlds that end with the test; takes the arguments of `with_dist`."""
    with ExitStack() as stack:

        def start(rank: int = 0, world_size: int | None = None, **options: Any) -> FakeWorld:
            return stack.enter_context(with_dist(rank, world_size, **options))

        yield start
