"""Whether a failure follows from a value that was made up: told where it does, and never of a failure that would occur anyway."""

from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import pytest

from fakerun.syntax.dependence import Reads, cause
from fakerun.syntax.places import Place
from tests.unit.programs_as_text import run_program

HELPERS = """
import os, unittest
class Tensor: pass
class DeviceTensor:
    shape = (1,)
    def __add__(self, other): raise RuntimeError
def value():
    number = read()
    return number + 0
def unrelated():
    read()
    return 7
def fail():
    raise ValueError
def check(ok):
    if not ok: fail()
def index(items, position):
    return items[position]
class Trainer:
    def step(self):
        self.loss = read()
    def finish(self):
        assert self.loss > 2
case = unittest.TestCase()
"""

FOLLOW = [
    "assert read() > 2",
    "assert 1 and value() > 2, 'message'",
    "x = read()\nassert x > 2",
    "x = read()\ny = [x * 2]\nassert y[0] > 2",
    "total = 0\nfor _ in range(2): total += value()\nassert total > 2",
    "x = value()\nif x < 2: raise ValueError",
    "x = value()\nif x < 2: sys.exit(1)",
    "x = value()\nif x < 2: fail()",
    "def f():\n    x = value()\n    if x > 2: return\n    raise ValueError\nf()",
    "check(value() > 2)",
    "check(ok=value() > 2)",
    "case.assertTrue(value() > 2)",
    "case.assertEqual(value(), 2)",
    "[1][read()]",
    "index([1], read())",
    "x = read()\nindex([1], position=x)",
    "t = Trainer()\nt.step()\nt.finish()",
    "try:\n    [1][read()]\nexcept IndexError as error:\n    raise ValueError from error",
    "try:\n    [1][read()]\nexcept IndexError:\n    raise ValueError",
    "def f():\n    assert limit > 2\nlimit = read()\nf()",
    "assert all(x > 2 for x in [read()])",
    "while True:\n    if read() < 2: raise ValueError",
]

THE_PROGRAMS_OWN = [
    "read()\nassert False",
    "x = read()\nassert len([]) == 1",
    "x = unrelated()\nassert x > 8",
    "assert unrelated() > 8",
    "x = read()\nraise ValueError",
    "x = value()\nif x < 2:\n    y = 3\nif len([]) == 0: raise ValueError",
    "if value() < 2:\n    [][0]",
    "index([], len([]))\nread()",
    "x = read()\n{}['key']",
    "t = DeviceTensor()\nt.scale = read()\nt + 1",
    "try:\n    [1][read()]\nexcept IndexError:\n    pass\nassert not True",
    "def f(x, y):\n    assert y\nf(read(), 0)",
    "read()\nsys.exit(3)",
]


def _cause(directory: Path, text: str) -> str | None:
    places: list[tuple[tuple[Place, ...], str]] = []

    def read(frames: Sequence[FrameType]) -> int:
        places.append((tuple(map(Place.of, frames)), "read"))
        return 1

    with pytest.raises(BaseException) as raised:  # noqa: PT011 - SystemExit too
        run_program(directory, HELPERS + text, read=read)
    return cause(raised.value, Reads(places))


@pytest.mark.parametrize("text", FOLLOW)
def test_a_failure_follows_from_a_read(tmp_path: Path, text: str) -> None:
    assert _cause(tmp_path, text) == "read"


@pytest.mark.parametrize("text", THE_PROGRAMS_OWN)
def test_a_failure_of_the_program_is_its_own(tmp_path: Path, text: str) -> None:
    assert _cause(tmp_path, text) is None
