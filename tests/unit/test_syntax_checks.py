"""Which answer lets a program go on: it is found wherever the check is, and none is invented where there is no check."""

import os
import unittest
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import pytest

from fakerun.syntax.checks import Wanted, wanted
from tests.unit.programs_as_text import run_program

HELPERS = """
import os
def close():
    return read()
def close_by_name():
    ok = close()
    return ok
def fail(message):
    print(message)
    sys.exit(2)
def check(ok, message=""):
    if not ok:
        fail(message)
class Model:
    def check(self, message, ok):
        assert ok, message
"""

TRUE = [
    "assert read()",
    "assert read(), 'message'",
    "assert (ok := read())",
    "assert 1 and read() and 2",
    "assert 0 or read()",
    "assert read() is True",
    "assert read() == True",
    "assert not not read()",
    "assert bool(read())",
    "assert all(read() for _ in range(2))",
    "assert all([read() for _ in range(2)])",
    "assert close()",
    "assert close_by_name()",
    "assert (lambda: read())()",
    "if not read(): raise ValueError",
    "if not read(): sys.exit(1)",
    "if not read(): sys.exit('message')",
    "if not read(): os.abort()",
    "if not read(): os._exit(3)",
    "if not read(): fail('message')",
    "if not read():\n    print('message')\n    raise ValueError",
    "if not read():\n    if sys: raise ValueError\n    else: raise KeyError",
    "if read(): pass\nelse: raise ValueError",
    "ok = read()\nif not ok: raise ValueError",
    "ok: bool = read()\nprint(ok)\nassert ok",
    "ok = True\nok &= read()\nassert ok",
    "ok = read() and close()\nassert ok",
    "check(read(), 'message')",
    "check(message='', ok=read())",
    "model = Model()\nmodel.check('message', read())",
    "Model.check(Model(), 'message', read())",
    "model = Model()\nmodel.check(ok=read(), message='')",
    "case.assertTrue(read())",
    "def f():\n    if read(): return 1\n    raise ValueError\nf()",
    "def f():\n    for i in range(2):\n        if read(): return i\n    raise ValueError\nf()",
    "def f():\n    for i in range(2):\n        if read(): break\n    else:\n        raise ValueError\nf()",
    "with open(os.devnull):\n    if not read(): raise ValueError",
    "try:\n    assert read()\nfinally:\n    print()",
]

FALSE = [
    "assert not read()",
    "assert read() is False",
    "assert read() != True",
    "if read(): raise ValueError",
    "if read() or 0: raise ValueError('bad')",
    "while True:\n    if read(): raise ValueError\n    break",
    "if read(): assert False",
    "if sys and read(): raise ValueError",
    "bad = read()\nassert not bad",
    "bad = False\nbad |= read()\nif bad: raise ValueError",
    "case.assertFalse(read())",
    "if not sys: pass\nelif read(): raise ValueError\nelse: pass",
]

NO_ANSWER = [
    "read()",
    "if read(): print()",
    "if read(): print()\nelse: print()",
    "if read(): raise ValueError\nelse: raise KeyError",
    "if read(): sys.exit(0)",
    "if read(): sys.exit()",
    "x = 1 if read() else 2",
    "while read(): break",
    "def f():\n    if read(): return\n    print()\nf()",
    "for _ in range(2):\n    if read(): break\n    print()",
    "def f():\n    if read(): raise StopIteration\ntry: f()\nexcept StopIteration: pass",
    "ok = read()\nif sys: print(ok)",
    "ok = read()\nassert ok\nassert not ok",
    "print(read())",
    "exec('assert read()')",
]


def _wanted_by(directory: Path, text: str) -> list[Wanted | None]:
    """What was wanted at each read of the program. It gets that, or False, and may fail for it."""
    found: list[Wanted | None] = []

    def read(frames: Sequence[FrameType]) -> bool:
        found.append(wanted(frames))
        return found[-1] is not None and found[-1].holds(True)

    with suppress(ValueError, KeyError, AssertionError, SystemExit):
        run_program(directory, HELPERS + text, read=read, case=unittest.TestCase())
    return found


@pytest.mark.parametrize("text", TRUE)
def test_true_lets_the_program_go_on(tmp_path: Path, text: str) -> None:
    assert set(_wanted_by(tmp_path, text)) == {Wanted(truth=True)}


@pytest.mark.parametrize("text", FALSE)
def test_false_lets_the_program_go_on(tmp_path: Path, text: str) -> None:
    assert set(_wanted_by(tmp_path, text)) == {Wanted(truth=False)}


@pytest.mark.parametrize("text", NO_ANSWER)
def test_no_check_wants_an_answer(tmp_path: Path, text: str) -> None:
    assert set(_wanted_by(tmp_path, text)) == {None}


@pytest.mark.parametrize(
    ("text", "holding", "failing"),
    [
        ("assert read() < 0.5", 0.0, 1.0),
        ("assert 0.5 > read()", 0.0, 1.0),
        ("assert read() == 3", 3, 1),
        ("limit = 2\nassert read() >= limit + 1", 3, 2),
        ("if read() > 1e6: raise ValueError", 1.0, 1e7),
        ("value = read()\nassert value <= -2", -2, 1),
        ("assert read() != 1", 0, 1),
    ],
)
def test_a_comparison_is_met_by_a_number(tmp_path: Path, text: str, holding: float, failing: float) -> None:
    found: list[Wanted | None] = []

    def read(frames: Sequence[FrameType]) -> float:
        found.append(wanted(frames))
        return holding

    run_program(tmp_path, text, read=read, os=os)
    (needed,) = found
    assert needed is not None
    assert needed.holds(holding)
    assert not needed.holds(failing)
