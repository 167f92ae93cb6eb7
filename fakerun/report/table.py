"""The report as a page for a terminal: what was run, what it communicates, what memory it needs, what to know, and what failed.

What needs attention comes last: that is what a terminal shows when the command has ended.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from fakerun.records.finding import Finding, Severity
from fakerun.report.model import RankReport, Report
from fakerun.report.style import Style, clip_end, unbroken
from fakerun.report.table_collectives import collectives_section, trace_section
from fakerun.report.table_failures import failures_section
from fakerun.report.table_memory import memory_section
from fakerun.report.table_ranks import ranks_section
from fakerun.units import format_ranks

_RANKS_WIDTH = 24


def render(report: Report, /, *, trace: bool = False, color: bool = False, width: int | None = None) -> str:
    """One page about the rank with the highest peak, and a line for each class of ranks if there are several. `trace` adds every call."""
    style = Style(color=color, terminal_width=width)
    sections = [_header(report, style)]
    if len(report.ranks) > 1:
        sections.append(ranks_section(report, style))
    if report.largest is not None and not _failed_at_once(report.largest):
        sections.append(collectives_section(report.largest, style))
        sections.append(memory_section(report.largest, report.job.hardware, style))
    if trace:
        sections.extend(trace_section(rank, style) for rank in _one_of_each_class(report))
    sections.append(_findings(report, style))
    sections.append(failures_section(report.failed, style))
    return "\n\n".join("\n".join(section) for section in sections if section) + "\n"


def _one_of_each_class(report: Report) -> Iterator[RankReport]:
    first = {each.simulated[0] for each in report.classes}
    return (rank for rank in report.ranks if rank.record.rank in first)


def _failed_at_once(rank: RankReport) -> bool:
    """Before there was anything to report."""
    return rank.record.failure is not None and not rank.record.collectives and rank.memory.peak_block is None


def _header(report: Report, style: Style) -> list[str]:
    job = report.job
    program = clip_end(f"fakerun {report.fakerun_version}  {' '.join((job.program, *job.args))}", style.width)
    nodes = f"{job.nnodes} node{'s' * (job.nnodes > 1)} x {job.nproc_per_node}"
    facts = [
        f"{job.world_size} x {job.hardware} ({nodes})",
        f"mesh {_axes(report.mesh)}" if report.mesh else "no mesh",
        _simulated(report.ranks),
        _steps(report),
        f"torch {report.torch_version or 'unknown'}",
    ]
    return [style.bold(program), *style.wrapped(", ".join(map(unbroken, facts)))]


def _simulated(ranks: tuple[RankReport, ...]) -> str:
    numbers = format_ranks(rank.record.rank for rank in ranks)
    if len(ranks) != 1:
        return f"simulated ranks {numbers or 'none'}" if len(numbers) <= _RANKS_WIDTH else f"simulated {len(ranks)} ranks"
    coordinate = ranks[0].coordinate
    return f"simulated rank {numbers}" + (f" ({_axes(coordinate)})" if coordinate else "")


def _steps(report: Report) -> str:
    done = {rank.record.steps for rank in report.ranks} or {0}
    asked = f"{report.job.steps} step{'s' * (report.job.steps != 1)}"
    return asked if done == {report.job.steps} else f"{'-'.join(map(str, sorted({min(done), max(done)})))} of {asked}"


def _axes(axes: Mapping[str, int]) -> str:
    return ",".join(f"{axis}={number}" for axis, number in axes.items())


def _findings(report: Report, style: Style) -> list[str]:
    """Each finding once, with all the places that it was made at."""
    marks = {Severity.ERROR: style.red, Severity.WARNING: style.yellow, Severity.NOTE: style.bold}
    lines = []
    for finding, places in _alike(report.findings).items():
        on_ranks = f"on {_ranks(finding.ranks)}" if len(report.ranks) > 1 and finding.ranks else ""
        at_places = f"at {', '.join(map(unbroken, places))}" if places else ""
        heading = "  ".join(filter(None, (finding.severity, finding.code, on_ranks, at_places)))
        first, *rest = style.wrapped(heading, indent="  ", first_indent="")
        lines += [first.replace(finding.severity, marks[finding.severity](finding.severity), 1), *rest]
        lines += style.wrapped(finding.message, indent="  ")
        lines += style.wrapped(f"hint: {finding.hint}", indent="  ") if finding.hint else []
    return [style.bold("Findings"), *lines] if lines else []


def _alike(findings: Iterable[Finding]) -> dict[Finding, list[str]]:
    """Places by what was found there, in order: a script that reads ten losses gets one note."""
    places: dict[Finding, list[str]] = {}
    for finding in findings:
        here = places.setdefault(replace(finding, call_site=None), [])
        here += [finding.call_site] if finding.call_site else []
    return places


def _ranks(numbers: Collection[int]) -> str:
    """`rank 3`, `ranks 0-3`."""
    return f"rank{'s' * (len(numbers) > 1)} {format_ranks(numbers)}"
