"""A Difference: one way in which ranks do not fit, not yet known to be a cause or a consequence of another one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fakerun.analysis.matching.cast import Group
from fakerun.analysis.matching.traces import Way
from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`message` ends without a full stop. `odd` are the ranks that do otherwise than the rest; `named` those that the finding is given.

    It lies at call `position` of the groups' collectives, or of the messages that rank `rank` sends or receives `way`. `order` is that
    call's place in the program of a rank that does the usual. Where ranks are `astray`, their later calls meet wrong ones, or none.
    """

    code: FindingCode
    message: str
    hint: str
    call_site: CallSite | None
    usual_site: CallSite | None
    odd: frozenset[int]
    named: frozenset[int]
    groups: tuple[Group, ...]
    rank: int
    position: int
    order: int
    way: Way | None = None
    since: int | None = None
    """The earliest position where it may lie as well."""
    astray: bool = True
    blocked: Mapping[int, int] = field(default_factory=dict)
    """Of groups that are not made alike: by rank the first call that it does not come to."""
    failure: str | None = None
    """What a rank failed with that ended early."""

    def finding(self, more: str = "") -> Finding:
        """As the user sees it; `more` is a sentence to add."""
        return Finding(
            code=self.code,
            message=f"{self.message}.{more}",
            ranks=tuple(sorted(self.named)),
            call_site=self.call_site,
            hint=self.hint,
        )

    def with_ranks_of(self, other: "Difference") -> "Difference":
        """This one, said of the other's ranks and groups too."""
        return replace(
            self,
            odd=self.odd | other.odd,
            named=self.named | other.named,
            groups=tuple(dict.fromkeys((*self.groups, *other.groups))),
        )
