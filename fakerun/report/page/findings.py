"""The section of findings: each once, with all the places that it was made at."""

from collections.abc import Iterable

from fakerun.report.model import FindingReport
from fakerun.report.page.blocks import FindingItem, Findings, Section
from fakerun.units import name_ranks


def findings_section(findings: Iterable[FindingReport], *, several_ranks: bool) -> Section:
    """The findings, in their order; which ranks they are of where there are several."""
    items = tuple(_item(each, several_ranks=several_ranks) for each in findings)
    return Section(title="Findings", blocks=(Findings(items=items),))


def _item(each: FindingReport, *, several_ranks: bool) -> FindingItem:
    finding = each.finding
    return FindingItem(
        severity=finding.severity,
        code=finding.code,
        ranks=name_ranks(finding.ranks) if several_ranks and finding.ranks else "",
        call_sites=tuple(map(str, each.call_sites)),
        message=finding.message,
        hint=finding.hint,
    )
