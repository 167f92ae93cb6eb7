"""fakerun against what is known exactly: closed formulas, and the same program under the real torchrun, watched by another recorder."""

from collections import Counter
from typing import Any

import pytest

from fakerun.analysis.memory import alive_after
from fakerun.records.memory import Category
from tests.e2e.fakerun_command import Dry, dry_run
from tests.oracles.formulas import Footprint
from tests.oracles.programs import PROGRAMS, CallIdentity, Program, identity

EIGHT_BILLION = (
    Program(id="8b-fsdp", script="train_fsdp.py", model="8b", dp=8, seq_len=8192, activation_checkpointing="full"),
    Program(id="8b-tp-fsdp", script="train_tp_fsdp.py", model="8b", dp=2, tp=4, seq_len=8192),
)

# The ranks of a program stay in one worker, which runs the program under torchrun once.
EVERY_RANK = [
    pytest.param(program, rank, id=f"{program.id}-rank{rank}", marks=pytest.mark.xdist_group(program.id))
    for program in PROGRAMS
    for rank in range(program.world_size)
]
BIG = [pytest.param(program, rank, id=f"{program.id}-rank{rank}") for program, rank in zip(EIGHT_BILLION, (7, 2), strict=True)]

RANDOM_STATE = ("broadcast", "uint8", ((16,),))
"""On CUDA, not on the CPU, the first random operation on a DTensor broadcasts rank 0's random state."""


def simulated(program: Program, rank: int) -> Dry:
    words = ("--nproc-per-node", str(program.world_size), "--steps", str(program.steps), "--rank", str(rank))
    return dry_run(*words, str(program.path), *program.args)


def calls_of(dry: Dry) -> list[CallIdentity]:
    """The calls that fakerun reports, in the form of the recorder."""
    return [call_identity(call) for call in dry.report["ranks"][0]["collectives"]]


def call_identity(call: dict[str, Any]) -> CallIdentity:
    return (call["op"], tuple(call["group_ranks"]), call["dtype"], sizes(call["input_sizes"]), sizes(call["output_sizes"]))


def sizes(value: list[list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(size) for size in value)


def is_random_state(call: CallIdentity) -> bool:
    op, _, dtype, inputs, _ = call
    return (op, dtype, inputs) == RANDOM_STATE


@pytest.mark.parametrize(("program", "rank"), EVERY_RANK)
def test_every_rank_issues_what_it_really_issues(program: Program, rank: int) -> None:
    real = [identity(call) for call in program.record().calls[rank]]
    assert [call for call in calls_of(simulated(program, rank)) if not is_random_state(call)] == real


@pytest.mark.parametrize(("program", "rank"), EVERY_RANK + BIG)
def test_collectives_are_those_of_the_formulas(program: Program, rank: int) -> None:
    expected = program.expected_collectives(rank, device="cuda")
    dry = simulated(program, rank)
    assert calls_of(dry) == program.expected_calls(rank, device="cuda")
    assert [call["nbytes"] for call in dry.report["ranks"][0]["collectives"]] == [call.nbytes for call in expected]


@pytest.mark.parametrize(("program", "rank"), EVERY_RANK + BIG)
def test_what_stays_in_memory_is_what_the_formulas_say(program: Program, rank: int) -> None:
    timeline = simulated(program, rank).record.memory
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
