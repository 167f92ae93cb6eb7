"""torchrun's options: the list is complete, and its counts are read as torchrun reads them."""

import ast
from importlib.metadata import distribution
from pathlib import Path

import pytest

from fakerun.cli import torchrun
from fakerun.errors import UsageError


def test_every_option_of_the_installed_torchrun_is_accepted() -> None:
    source = Path(str(distribution("torch").locate_file("torch/distributed/run.py"))).read_text(encoding="utf-8")
    calls = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument"
    ]
    words = [str(word.value) for call in calls for word in call.args if isinstance(word, ast.Constant)]
    options = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    assert {"nnodes", "standalone", "rdzv_backend"} <= options
    assert options <= {option.name for option in torchrun.OPTIONS}


def test_an_option_is_listed_once() -> None:
    names = [option.name for option in torchrun.OPTIONS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("parameter", "variables"),
    [
        ("nnodes", ["FAKERUN_NNODES", "PET_NNODES"]),
        ("rdzv_id", ["FAKERUN_RDZV_ID", "PET_RDZV_ID"]),
        ("steps", ["FAKERUN_STEPS"]),
        ("format_", ["FAKERUN_FORMAT"]),
    ],
)
def test_variables_of_a_parameter(parameter: str, variables: list[str]) -> None:
    assert torchrun.environment_variables(parameter) == variables


@pytest.mark.parametrize(("text", "nodes"), [("4", 4), ("1:4", 4), ("4:4", 4)])
def test_node_count(text: str, nodes: int) -> None:
    assert torchrun.node_count(text) == nodes


@pytest.mark.parametrize("text", ["", "some", "1:", ":4", "1:2:3", "0:4", "4:2", "-1"])
def test_node_counts_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--nnodes"):
        torchrun.node_count(text)


@pytest.mark.parametrize(("text", "processes"), [("8", 8), ("gpu", None), ("auto", None)])
def test_process_count(text: str, processes: int | None) -> None:
    assert torchrun.process_count(text) == processes
