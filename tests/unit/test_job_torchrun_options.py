"""torchrun's options: the list is that of the installed torch."""

import ast
from importlib.metadata import distribution
from pathlib import Path

from fakerun.job.torchrun_options import TORCHRUN_OPTIONS


def test_every_option_of_the_installed_torchrun_is_accepted() -> None:
    source = Path(str(distribution("torch").locate_file("torch/distributed/run.py"))).read_text(encoding="utf-8")
    calls = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
    ]
    words = [str(word.value) for call in calls for word in call.args if isinstance(word, ast.Constant)]
    options = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    assert {"nnodes", "standalone", "rdzv_backend"} <= options
    assert options <= {option.name for option in TORCHRUN_OPTIONS}


def test_an_option_is_listed_once() -> None:
    names = [option.name for option in TORCHRUN_OPTIONS]
    assert len(set(names)) == len(names)
