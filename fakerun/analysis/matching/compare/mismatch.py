"""A Mismatch: one way in which ranks do not agree, not yet known to be a cause or a consequence of another one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fakerun.analysis.dependency import Direction, Group
from fakerun.analysis.matching.description import other_sites
from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """`message` ends without a full stop. `outliers` are the ranks that differ from the majority; `ranks` those that the finding names.

    It lies at call `position` of the groups' collectives, or of the p2p calls of rank `rank` in `direction`. `program_index` is
    the index of that call in the program of a rank of the majority. If it is `desynchronising`, later calls of the outliers are matched
    with wrong calls, or with none.
    """

    code: FindingCode
    message: str
    hint: str
    call_site: CallSite | None
    majority_site: CallSite | None
    outliers: frozenset[int]
    ranks: frozenset[int]
    groups: tuple[Group, ...]
    rank: int
    position: int
    program_index: int
    direction: Direction | None = None
    earliest_position: int | None = None
    """The first position at which it may lie as well; None if only at `position`."""
    desynchronising: bool = True
    blocked: Mapping[int, int] = field(default_factory=dict)
    """Where ranks create different groups: by rank the first call that it does not reach."""
    failure: str | None = None
    """What a rank failed with that ended early."""

    def finding(self, addition: str = "") -> Finding:
        """The finding for the user; `addition` are sentences to append."""
        return Finding(
            code=self.code,
            message=f"{self.message}.{addition}",
            ranks=tuple(sorted(self.ranks)),
            call_site=self.call_site,
            hint=self.hint,
            other_call_sites=other_sites(self.call_site, [self.majority_site]),
        )

    def merged_with(self, other: "Mismatch") -> "Mismatch":
        """This mismatch, with the ranks and groups of the other one added."""
        return replace(
            self,
            outliers=self.outliers | other.outliers,
            ranks=self.ranks | other.ranks,
            groups=tuple(dict.fromkeys((*self.groups, *other.groups))),
        )
