"""fakerun against closed formulas, and against the same program under the real torchrun with an independent recorder."""

from collections import Counter
from typing import Any

import pytest

from fakerun.analysis.memory.footprint import alive_after
from fakerun.analysis.memory.timeline import timeline_of
from fakerun.records.memory import Category
from tests.commands import Dry, dry_run
from tests.oracles.formulas import Footprint
from tests.oracles.programs import EIGHT_BILLION, PROGRAMS, CallIdentity, Program, identity, real_runs
from tests.shared_results import SharedResults

EVERY_RANK = [pytest.param(program, rank, id=f"{program.id}-rank{rank}") for program in PROGRAMS for rank in range(program.world_size)]
BIG = [pytest.param(program, rank, id=f"{program.id}-rank{rank}") for program, rank in zip(EIGHT_BILLION, (7, 2), strict=True)]

RANDOM_STATE = ("broadcast", "uint8", ((16,),))
"""On CUDA, not on the CPU, the first random operation on a DTensor broadcasts rank 0's random state."""


@pytest.fixture
def dry(program: Program, rank: int, shared_results: SharedResults) -> Dry:
    """What fakerun says of the rank: of a small program all ranks are simulated together, of a large one this one alone."""
    ranks = "all" if program in PROGRAMS else str(rank)
    return shared_results.get(f"exact/{program.id}", lambda: dry_run(*program.words(ranks)))[rank]


def calls_of(dry: Dry) -> list[CallIdentity]:
    """The calls that fakerun reports, in the form of the recorder."""
    return [call_identity(call) for call in dry.report["collectives"]]


def call_identity(call: dict[str, Any]) -> CallIdentity:
    return (call["op"], tuple(call["group_ranks"]), call["dtype"], sizes(call["input_sizes"]), sizes(call["output_sizes"]))


def sizes(value: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(size) for size in value)


def is_random_state(call: CallIdentity) -> bool:
    op, _, dtype, inputs, _ = call
    return (op, dtype, inputs) == RANDOM_STATE


@pytest.mark.parametrize(("program", "rank"), EVERY_RANK)
def test_every_rank_issues_what_it_really_issues(program: Program, rank: int, dry: Dry, shared_results: SharedResults) -> None:
    real = [identity(call) for call in shared_results.get("programs", real_runs)[program.id].calls[rank]]
    assert [call for call in calls_of(dry) if not is_random_state(call)] == real


@pytest.mark.parametrize(("program", "rank"), EVERY_RANK + BIG)
def test_collectives_are_those_of_the_formulas(program: Program, rank: int, dry: Dry) -> None:
    expected = program.expected_collectives(rank, device="cuda")
    assert calls_of(dry) == program.expected_calls(rank, device="cuda")
    assert [call["nbytes"] for call in dry.report["collectives"]] == [call.nbytes for call in expected]


@pytest.mark.parametrize(("program", "rank"), EVERY_RANK + BIG)
def test_final_memory_is_that_of_the_formulas(program: Program, rank: int, dry: Dry) -> None:
    timeline = timeline_of(dry.record.program)
    at_rest: dict[Category, Counter[int]] = {category: Counter() for category in Category}
    for block in alive_after(timeline, timeline.step_ends[-1] - 1):
        at_rest[block.category][block.requested_bytes] += 1
    expected = program.expected_footprint(rank)
    assert at_rest[Category.PARAMETER] == storages(expected.parameters)
    assert at_rest[Category.GRADIENT] == storages(expected.gradients)
    assert at_rest[Category.OPTIMIZER_STATE] == storages(expected.optimizer_state)
    assert not bucket_storages(expected) - at_rest[Category.COMMUNICATION]


def storages(requested_bytes: tuple[int, ...]) -> Counter[int]:
    """A shard may be empty: it takes no memory."""
    return Counter(size for size in requested_bytes if size)


def bucket_storages(footprint: Footprint) -> Counter[int]:
    return storages(footprint.buckets)
