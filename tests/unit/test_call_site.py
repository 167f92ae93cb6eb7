"""The owner of source files, and the paths of call sites."""

import json
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

import fakerun
from fakerun.call_site import CallSite, CallSiteResolver, Owner, owner
from fakerun.trace.call_sites import CallSiteFinder

TORCH = str(Path(str(find_spec("torch").origin)).parent)  # type: ignore[union-attr]
SITE_PACKAGES = sysconfig.get_path("purelib")


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (f"{Path(fakerun.__file__).parent}/emulate/device/mode.py", Owner.FAKERUN),
        (f"{TORCH}/nn/modules/linear.py", Owner.TORCH),
        (f"{TORCH}vision/ops/misc.py", Owner.INSTALLED),
        (f"{SITE_PACKAGES}/transformers/trainer.py", Owner.INSTALLED),
        ("/home/me/.local/lib/python3.11/site-packages/lightning/trainer.py", Owner.INSTALLED),
        ("/usr/lib/python3/dist-packages/numpy/core.py", Owner.INSTALLED),
        (json.__file__, Owner.PYTHON),
        ("<string>", Owner.PYTHON),
        ("<frozen runpy>", Owner.PYTHON),
        ("/home/me/work/train.py", Owner.USER),
        ("/opt/site-packages.py", Owner.USER),
    ],
)
def test_owner(filename: str, expected: Owner) -> None:
    assert owner(filename) is expected


RESOLVER = CallSiteResolver(Path("/home/me/work"), Path("../scripts/train.py"))


@pytest.mark.parametrize(
    ("filename", "name"),
    [
        ("/home/me/work/models/llama.py", "models/llama.py:7"),
        ("/home/me/work/../work/llama.py", "llama.py:7"),
        ("/home/me/scripts/parts/data.py", "parts/data.py:7"),
        ("/srv/train.py", "train.py:7"),
        ("/srv/lib/site-packages/transformers/trainer.py", "transformers/trainer.py:7"),
        ("/home/me/work/.venv/lib/site-packages/transformers/trainer.py", "transformers/trainer.py:7"),
    ],
)
def test_name(filename: str, name: str) -> None:
    assert str(RESOLVER.site(filename, 7)) == name


LIBRARY = f"{SITE_PACKAGES}/transformers/trainer.py"


@pytest.mark.parametrize(
    ("filenames", "expected"),
    [
        (["/home/me/work/a.py", "/home/me/work/b.py", LIBRARY, f"{TORCH}/x.py"], "b.py:2"),
        ([LIBRARY, f"{TORCH}/x.py", json.__file__], "transformers/trainer.py:1"),
        ([f"{TORCH}/x.py", "<string>"], None),
        ([], None),
    ],
)
def test_the_innermost_call_of_the_user(filenames: list[str], expected: str | None) -> None:
    found = RESOLVER.innermost((filename, line, None) for line, filename in enumerate(filenames, start=1))
    assert (found and str(found)) == expected


def test_the_current_line_is_the_same_for_every_caller() -> None:
    resolver = CallSiteResolver(Path(__file__).parent, None)
    here = CallSiteFinder(resolver)
    program = compile("\n\nanswer = here()", "/home/me/work/train.py", "exec")
    for _ in range(2):
        seen: dict[str, object] = {"here": here.here}
        exec(program, seen)
        assert seen["answer"] == CallSite("train.py", 3)
    # From a library that is called by no file of the user's.
    assert json.JSONDecoder(object_hook=lambda _: here.here()).decode("{}") == CallSite(Path(__file__).name, _line_of("object_hook"))


def _line_of(text: str) -> int:
    return next(number for number, line in enumerate(Path(__file__).read_text().splitlines(), start=1) if f"{text}=lambda" in line)
