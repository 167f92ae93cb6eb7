"""The records of a real program are changed at one call of one rank: the finding for that change is reported, and no other.

The programs are those of scripts/, whose ranks match. A group of two has no majority, so only p2p calls are changed in it.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fakerun.analysis.matching import matching_findings
from fakerun.records.collective import P2P_OPS
from fakerun.records.finding_code import Severity
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from tests.matching.record_changes import CHANGES, Change, in_place
from tests.matching.verdict import verdict_of
from tests.shared_results import SharedResults

PROGRAMS = {
    "tp and fsdp": ("scripts/train_tp_fsdp.py", "--mesh", "3x4", "--", "--model", "debug", "--seq-len", "32"),
    "pipeline and fsdp": (
        *("scripts/train_4d.py", "--mesh", "pp=2,dp=4,cp=1,tp=1", "--world-size", "8"),
        *("--", "--model", "debug", "--seq-len", "32", "--pp", "2", "--cp", "1", "--tp", "1"),
    ),
}

TIMES = 25
"""How often each change is made, at places drawn by chance: one costs some milliseconds."""

Ranks = tuple[RankRecord, ...]


@pytest.fixture(params=PROGRAMS)
def ranks(request: pytest.FixtureRequest, shared_results: SharedResults) -> Ranks:
    """What the ranks of a program did."""
    return shared_results.get(f"ranks of {request.param}", lambda: verdict_of(*PROGRAMS[request.param]).ranks)


def test_nothing_is_found_before_the_change(ranks: Ranks) -> None:
    assert errors(ranks) == []


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_change_is_found_and_nothing_else(ranks: Ranks, change: Change) -> None:
    chance = random.Random(0)
    for _ in range(TIMES):
        rank = chance.choice(ranks)
        calls = tuple(rank.collectives)
        places = [position for position in range(len(calls)) if change.where(calls, position)]
        if not places:
            continue
        position = chance.choice(places)
        found = errors([changed_rank(each, change, position) if each is rank else each for each in ranks])
        call = calls[position]
        named = tuple(sorted((rank.rank, call.peer))) if call.op in P2P_OPS and call.peer is not None else (rank.rank,)
        assert [(error.code, error.ranks) for error in found] == [(change.code, named)], f"{call} of rank {rank.rank}"


def errors(ranks: Sequence[RankRecord]) -> list[Finding]:
    return [finding for finding in matching_findings(ranks) if finding.severity is Severity.ERROR]


def changed_rank(rank: RankRecord, change: Change, position: int) -> RankRecord:
    return replace(rank, collectives=in_place(tuple(rank.collectives), change, position))
