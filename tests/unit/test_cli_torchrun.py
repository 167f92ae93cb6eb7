"""torchrun's options: their variables, and counts are read as torchrun reads them."""

import pytest

from fakerun.cli import torchrun
from fakerun.errors import UsageError


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
