"""Process groups that ranks do not mean alike."""

from collections import defaultdict
from collections.abc import Mapping

from fakerun.analysis.matching.cast import Cast, Group
from fakerun.analysis.matching.words import who
from fakerun.records.finding import Finding, Severity

_HINT = "Call new_group on every rank for every group, those of others too, in one order and with the same ranks."


def groups_that_differ(cast: Cast) -> tuple[list[Finding], set[Group]]:
    """Groups that go by one name and have some ranks in common, but not all: they were made in another order, or of other ranks."""
    findings = []
    apart: set[Group] = set()
    for name, groups in _by_name(cast).items():
        pair = _overlapping(groups)
        if not name or pair is None:
            continue
        one, other = pair
        apart.update(groups)
        findings.append(
            Finding(
                code="group-mismatch",
                severity=Severity.ERROR,
                message=f"process group {name} is of {who(one.ranks)} for some ranks and of {who(other.ranks)} for others.",
                ranks=tuple(sorted({*one.ranks, *other.ranks})),
                hint=_HINT,
            )
        )
    return findings, apart


def _by_name(cast: Cast) -> Mapping[str, list[Group]]:
    by_name: dict[str, list[Group]] = defaultdict(list)
    for group in cast.groups:
        by_name[group.name].append(group)
    return by_name


def _overlapping(groups: list[Group]) -> tuple[Group, Group] | None:
    """Two of them that share a rank."""
    of_rank: dict[int, Group] = {}
    for group in groups if len(groups) > 1 else ():
        for rank in group.ranks:
            if of_rank.setdefault(rank, group) is not group:
                return of_rank[rank], group
    return None
