"""The pytest plugin: the fixture `fake_world`. Loaded into every run of pytest where fakerun is installed, hence free of torch."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from fakerun.testing.world import FakeWorld, with_dist


class StartWorld(Protocol):
    """What the fixture gives: takes the arguments of `with_dist`, begins the world and returns it."""

    def __call__(self, rank: int = 0, world_size: int | None = None, **options: Any) -> FakeWorld: ...


@pytest.fixture
def fake_world() -> Iterator[StartWorld]:
    """Starts worlds that end with the test: call it with what `with_dist` takes."""
    with ExitStack() as stack:

        def start(rank: int = 0, world_size: int | None = None, **options: Any) -> FakeWorld:
            return stack.enter_context(with_dist(rank, world_size, **options))

        yield start
