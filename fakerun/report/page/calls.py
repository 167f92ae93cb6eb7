"""The section that `--trace` adds: every collective call of one rank, in order."""

from fakerun.records.collective import CollectiveRecord
from fakerun.report.model import RankReport
from fakerun.report.page.blocks import Clip, Column, Prose, Row, Section, Table
from fakerun.report.page.collectives import bytes_or_dash
from fakerun.units import format_ranks

_COLUMNS = (
    Column(heading="seq", align="right"),
    Column(heading="step", align="right"),
    Column(heading="phase", priority=2),
    Column(heading="op"),
    Column(heading="group", clip=Clip.KEEP_START, min_width=10),
    Column(heading="dtype"),
    Column(heading="in -> out", clip=Clip.KEEP_START, min_width=20, priority=3),
    Column(heading="bytes", align="right"),
    Column(heading="module", clip=Clip.KEEP_MODULE, min_width=16, priority=1),
    Column(heading="call site", clip=Clip.KEEP_FILE, min_width=22),
)


def calls_section(rank: RankReport) -> Section:
    """Every call of the rank."""
    title = f"Every collective call of rank {rank.record.rank}, in order"
    if not rank.record.collectives:
        return Section(title=title, blocks=(Prose(text="none"),))
    return Section(title=title, blocks=(Table(columns=_COLUMNS, rows=tuple(map(_row, rank.record.collectives)), is_listing=True),))


def _row(record: CollectiveRecord) -> Row:
    return Row(
        cells=(
            str(record.seq),
            str(record.step),
            record.phase,
            record.op,
            f"{record.group or format_ranks(record.group_ranks)} ({record.group_size})",
            record.dtype or "-",
            f"{_sizes(record.input_sizes)} -> {_sizes(record.output_sizes)}",
            bytes_or_dash(record.nbytes),
            record.module or "-",
            str(record.call_site or "-"),
        )
    )


def _sizes(sizes: tuple[tuple[int, ...], ...]) -> str:
    """`[4096,128]` for one tensor, `8 x [4096,128]` for eight of the same size, `[4096,128] + 7 more` otherwise."""
    if not sizes:
        return "-"
    first = f"[{','.join(map(str, sizes[0]))}]"
    if len(sizes) == 1:
        return first
    return f"{len(sizes)} x {first}" if len(set(sizes)) == 1 else f"{first} + {len(sizes) - 1} more"
