"""Process groups that have the same name on all ranks, but not the same members."""

from collections import defaultdict
from collections.abc import Mapping

from fakerun.analysis.dependency import Group, SimulatedWorld
from fakerun.analysis.matching.compare.group_creation import CREATION_HINT
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.units import name_ranks


def membership_findings(world: SimulatedWorld) -> tuple[list[Finding], set[Group]]:
    """Groups that share their name and some members, but not all: ranks created them in another order, or with other ranks.

    Also returns these groups: their calls cannot be compared.
    """
    findings = []
    unequal: set[Group] = set()
    for name, groups in _by_name(world).items():
        pair = _overlapping(groups)
        if not name or pair is None:
            continue
        one, other = pair
        unequal.update(groups)
        members, others = name_ranks(one.ranks), name_ranks(other.ranks)
        findings.append(
            Finding(
                code=FindingCode.GROUP_MISMATCH,
                message=f"process group {name} consists of {members} on some ranks and of {others} on others.",
                ranks=tuple(sorted({*one.ranks, *other.ranks})),
                hint=CREATION_HINT,
            )
        )
    return findings, unequal


def _by_name(world: SimulatedWorld) -> Mapping[str, list[Group]]:
    by_name: dict[str, list[Group]] = defaultdict(list)
    for group in world.groups:
        by_name[group.name].append(group)
    return by_name


def _overlapping(groups: list[Group]) -> tuple[Group, Group] | None:
    """Two of them that share a rank."""
    group_of: dict[int, Group] = {}
    for group in groups if len(groups) > 1 else ():
        for rank in group.ranks:
            if group_of.setdefault(rank, group) is not group:
                return group_of[rank], group
    return None
