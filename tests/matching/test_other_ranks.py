"""It does not matter which rank it is: where others take over each other's part, the same is found of them.

What a program's ranks did is recorded once; here the records are given to other ranks, and matched anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from fakerun.analysis.matching import matching_findings
from fakerun.records.collective import CollectiveRecord
from fakerun.records.finding_code import Severity
from fakerun.records.findings import Finding
from fakerun.records.run import GroupCreation, RankRecord
from tests.matching.case import Bug, Report
from tests.matching.cases import BUGS, REPORTS
from tests.matching.verdict import Verdict

OF_ONE_RANK = {"cpu-tensor", "non-member"}
"""Findings of the simulation of a rank, which no other rank is needed for."""

EVERY_CASE = [pytest.param(case, id=case.name) for case in (*BUGS, *REPORTS) if case.code not in OF_ONE_RANK]

Renaming = Mapping[int, int]


@pytest.mark.parametrize("case", EVERY_CASE)
def test_the_same_is_found_of_ranks_that_change_places(case: Bug | Report, verdict: Verdict) -> None:
    for renaming in (shifted(case.world_size), reversed_order(case.world_size)):
        renamed = sorted((with_other_name(rank, renaming) for rank in verdict.ranks), key=lambda rank: rank.rank)
        (found,) = (finding for finding in of_ranks(matching_findings(renamed)) if finding.code not in case.besides)
        assert found.code == case.code
        assert found.ranks == tuple(sorted(renaming[rank] for rank in case.ranks)) or case.no_majority


def shifted(world_size: int) -> Renaming:
    return {rank: (rank + 1) % world_size for rank in range(world_size)}


def reversed_order(world_size: int) -> Renaming:
    return {rank: world_size - 1 - rank for rank in range(world_size)}


def of_ranks(findings: Sequence[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity is not Severity.NOTE]


def with_other_name(rank: RankRecord, renaming: Renaming) -> RankRecord:
    """Another rank that does what this one did, towards others that do what its peers did."""
    return replace(
        rank,
        rank=renaming[rank.rank],
        collectives=tuple(towards_others(record, renaming) for record in rank.collectives),
        group_creations=tuple(of_others(group, renaming) for group in rank.group_creations),
    )


def towards_others(record: CollectiveRecord, renaming: Renaming) -> CollectiveRecord:
    return replace(
        record,
        group_ranks=tuple(renaming[rank] for rank in record.group_ranks),
        root=None if record.root is None else renaming[record.root],
        peer=None if record.peer is None else renaming[record.peer],
    )


def of_others(group: GroupCreation, renaming: Renaming) -> GroupCreation:
    callers = None if group.callers is None else tuple(renaming[rank] for rank in group.callers)
    return replace(group, ranks=tuple(renaming[rank] for rank in group.ranks), callers=callers)
