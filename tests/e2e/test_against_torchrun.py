"""fakerun's collectives against the real thing: the same program under torchrun with gloo, watched by a recorder that is not fakerun's."""

from typing import Any

import pytest

from tests.e2e.fakerun_command import report_of
from tests.oracles.programs import PROGRAMS, CallIdentity, Program, identity

CASES = [(program, rank) for program in PROGRAMS for rank in range(program.world_size)]


def simulated(program: Program, rank: int) -> list[CallIdentity]:
    """The calls that fakerun reports for a rank, in the form of the recorder."""
    words = ("--nproc-per-node", str(program.world_size), "--steps", str(program.steps), "--rank", str(rank))
    report = report_of(*words, str(program.path), *program.args)
    return [call_identity(call) for call in report["ranks"][0]["collectives"]]


def call_identity(call: dict[str, Any]) -> CallIdentity:
    return (call["op"], tuple(call["group_ranks"]), call["dtype"], sizes(call["input_sizes"]), sizes(call["output_sizes"]))


def sizes(value: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(size) for size in value)


@pytest.mark.parametrize(("program", "rank"), CASES, ids=lambda value: value.id if isinstance(value, Program) else f"rank{value}")
def test_every_rank_issues_what_it_really_issues(program: Program, rank: int) -> None:
    real = [identity(call) for call in program.record().calls[rank]]
    # The simulation ends with the last optimizer step; what the program prints after it needs no communication.
    assert simulated(program, rank) == real
