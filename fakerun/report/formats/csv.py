"""One flat table for spreadsheets and data frames, in RFC 4180's form but for lines that end with a line feed.

Each class of ranks of each job has a row `ranks`, with its memory and the sum of what it communicates in a step, and after it a row
`operation` for each operation on each process group. Memory stands in the first only, so that sums over a column count nothing twice once
one kind of rows is chosen. All sizes are bytes, as whole numbers.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from fakerun.printable import printable
from fakerun.report.job_report import JobReport
from fakerun.report.model import ClassReport, NoEstimate, StepEstimate, Volume
from fakerun.units import name_ranks

_FORMULA = ("=", "+", "-", "@", "\t")
"""What makes a spreadsheet take a text for a formula (OWASP, "CSV Injection")."""

COLUMNS = (
    *("job", "row", "ranks", "rank_count", "world_size", "hardware", "exit_code", "steps"),
    *("peak_reserved_bytes", "peak_allocated_bytes", "usable_bytes", "headroom_bytes", "verdict"),
    *("operation", "group", "group_size", "dtype", "calls", "bytes", "bus_bytes", "intra_node_bytes", "inter_node_bytes"),
    *("step_s", "mfu", "tokens_per_s"),
)


def render(jobs: Sequence[JobReport], /) -> str:
    """Of the rank that is the example of its class, and of its last completed step, or of all if it completed none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for job in jobs:
        for each in job.report.classes:
            writer.writerows(_rows(job, each))
    return text.getvalue()


def _rows(job: JobReport, each: ClassReport) -> Iterator[Mapping[str, str | float]]:
    report, record, device = job.report, each.example.record, each.example.largest_device
    common: dict[str, str | float] = {
        "job": _text(job.name),
        "ranks": name_ranks(each.ranks),
        "rank_count": len(each.ranks),
        "world_size": report.job.world_size,
        "hardware": report.job.hardware.name,
        "exit_code": int(report.exit_code),
        "steps": record.steps,
    }
    yield {
        **common,
        "row": "ranks",
        "peak_reserved_bytes": device.reserved.peak_bytes,
        "peak_allocated_bytes": device.footprint.peak_bytes,
        "usable_bytes": device.fit.usable_bytes,
        "headroom_bytes": each.headroom_bytes,
        "verdict": device.fit_on_node.verdict.value,
        **_volume(each.last_step),
        **_step_time(report.step_time),
    }
    for traffic in each.example.traffic.rows:
        volumes = traffic.volumes
        yield {
            **common,
            "row": "operation",
            "operation": traffic.op.value,
            "group": _text(traffic.group or name_ranks(traffic.group_ranks)),
            "group_size": traffic.group_size,
            "dtype": traffic.dtype,
            **_volume(volumes.per_step[-1] if volumes.per_step else volumes.after),
        }


def _step_time(estimate: StepEstimate | NoEstimate) -> Mapping[str, float]:
    """Of the job, in the row of each class of ranks; what is not known has no cell."""
    if isinstance(estimate, NoEstimate):
        return {}
    figures = {"step_s": estimate.seconds, "mfu": estimate.utilisation.mfu, "tokens_per_s": estimate.utilisation.tokens_per_s}
    return {name: round(figure, 6) for name, figure in figures.items() if figure is not None}


def _volume(volume: Volume) -> Mapping[str, int]:
    return {
        "calls": volume.calls,
        "bytes": volume.nbytes,
        "bus_bytes": volume.bus_bytes,
        "intra_node_bytes": volume.intra_node_bytes,
        "inter_node_bytes": volume.inter_node_bytes,
    }


def _text(text: str) -> str:
    """Names are the user's: one that a spreadsheet would compute gets an apostrophe, which says that it is text."""
    return f"'{printable(text)}" if text.startswith(_FORMULA) else printable(text)
