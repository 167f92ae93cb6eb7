"""A list of contexts in the wrong order is refused, with the reason."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.order import Enter, Precedence, check_order


@contextmanager
def lights(_: EmulationContext) -> Iterator[None]:
    yield


@contextmanager
def camera(_: EmulationContext) -> Iterator[None]:
    yield


LIGHTS_FIRST = Precedence(first=lights, then=camera, reason="the camera measures the light")


def test_the_right_order_passes() -> None:
    check_order((lights, camera), (LIGHTS_FIRST,))


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ((camera, lights), "lights must be entered before camera: the camera measures the light"),
        ((camera,), "the precedence of lights over camera names a context that is not listed"),
        ((lights, camera, lights), "a context is listed twice"),
    ],
)
def test_a_wrong_list_is_refused(contexts: tuple[Enter, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_order(contexts, (LIGHTS_FIRST,))
