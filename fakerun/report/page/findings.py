"""The section of findings: each once, with all the places that it was made at."""

from fakerun.report.model import FindingReport, Report
from fakerun.report.page.blocks import FindingItem, Findings, Section
from fakerun.units import name_ranks


def findings_section(report: Report) -> Section:
    """All findings of the report, most severe first."""
    items = tuple(_item(each, several_ranks=len(report.ranks) > 1) for each in report.grouped_findings)
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
