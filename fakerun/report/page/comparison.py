"""The page of a comparison: what was asked for otherwise, the figures of both jobs, and what differs, which comes last."""

from collections.abc import Iterator, Sequence

from fakerun.records.findings import Finding
from fakerun.report.model import ComparedFigure, Comparison
from fakerun.report.page.blocks import Clip, Column, Fact, Facts, FindingItem, Findings, Page, Prose, Row, Section, Summary, Table, Tone
from fakerun.units import format_bytes

_FIGURES_SHOWN = 24


def comparison_page(comparison: Comparison) -> Page:
    """The page of a comparison."""
    return Page(
        summary=_summary(comparison),
        title=f"{comparison.old.name} -> {comparison.new.name}",
        facts=Facts(facts=tuple(_facts(comparison))),
        sections=tuple(_sections(comparison)),
    )


def _summary(comparison: Comparison) -> Summary:
    count = len(comparison.differences)
    if not count:
        return Summary(verdict="EQUAL", tone=Tone.GOOD, text="no difference beyond the tolerances")
    return Summary(verdict="DIFFERENT", tone=Tone.BAD, text=f"{count} difference{'s' * (count > 1)}")


def _facts(comparison: Comparison) -> Iterator[Fact]:
    job = comparison.new.baseline.job
    yield Fact(label="job", values=(job.program, f"{job.ranks} ranks", f"mesh {job.mesh}", job.hardware))
    for fact in comparison.facts:
        yield Fact(label=fact.label, values=(f"{fact.new} instead of {fact.old}",))


def _sections(comparison: Comparison) -> Iterator[Section]:
    if comparison.figures:
        yield _figures_section(comparison.figures)
    if comparison.differences:
        items = tuple(map(_item, comparison.findings))
        yield Section(title="Differences", blocks=(Findings(items=items),))


def _item(finding: Finding) -> FindingItem:
    site = finding.call_site
    return FindingItem(
        severity=finding.severity,
        code=finding.code,
        ranks="",
        call_sites=() if site is None else (str(site),),
        message=finding.message,
        hint=finding.hint,
    )


def _figures_section(figures: Sequence[ComparedFigure]) -> Section:
    """Those that are beyond their tolerances first."""
    ordered = sorted(figures, key=lambda figure: figure.is_within)
    rest = len(ordered) - _FIGURES_SHOWN
    table = Table(
        columns=(
            Column(heading="ranks", clip=Clip.KEEP_START, min_width=9),
            Column(heading="quantity", clip=Clip.KEEP_START, min_width=16),
            Column(heading="old", align="right"),
            Column(heading="new", align="right"),
            Column(heading="change", align="right"),
            Column(heading="tolerance", align="right", priority=1),
            Column(heading=""),
        ),
        rows=tuple(map(_row, ordered[:_FIGURES_SHOWN])),
        note=f"and {rest} more; --format json has them" if rest > 0 else "",
    )
    return Section(title="Figures", remark=Prose(text="of the ranks that both jobs have"), blocks=(table,))


def _row(figure: ComparedFigure) -> Row:
    change = figure.new - figure.old
    amounts = [format_bytes(each) if figure.unit == "bytes" else str(each) for each in (figure.old, figure.new, abs(change))]
    signed = f"{'-' if change < 0 else '+'}{amounts[2]}" if change else "none"
    verdict = "ok" if figure.is_within else "DIFFERENT"
    return Row(cells=(figure.ranks, figure.what, *amounts[:2], signed, figure.tolerance, verdict))
