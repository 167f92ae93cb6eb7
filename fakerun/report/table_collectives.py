"""The table report's view of communication: sums by operation, group and dtype, or every call in order."""

from collections.abc import Callable

from fakerun.analysis.traffic import StepVolumes, Traffic, Volume
from fakerun.records.collective import CollectiveRecord
from fakerun.report.grid import Column, grid
from fakerun.report.model import RankReport
from fakerun.report.style import Style, clip_start
from fakerun.units import format_bytes

_Cell = tuple[Column, Callable[[StepVolumes], str]]


def collectives_section(rank: RankReport, style: Style) -> list[str]:
    """Calls and bytes by operation, group and dtype: one set of columns if all steps are alike, else of the first and last step."""
    traffic = rank.traffic
    title = style.bold(f"Collectives of rank {rank.record.rank}")
    if not traffic.rows:
        return [title, "none"]
    cells = _cells(traffic)
    keys = [Column("op"), Column("group"), Column("dtype")]
    rows = [
        [row.op, _group(row.group, row.group_size), row.dtype or "-", *(text(row.volumes) for _, text in cells)] for row in traffic.rows
    ]
    sums = [
        ["all", _group(group.group, group.group_size), "", *(text(group.volumes) for _, text in cells)]
        for group in (traffic.groups if len(traffic.groups) > 1 else ())
    ]
    sums.append(["all", "", "", *(text(traffic.total) for _, text in cells)])
    return [f"{title}, {_scope(traffic)}", *grid([*keys, *(column for column, _ in cells)], rows, sums=sums)]


def _scope(traffic: Traffic) -> str:
    """Says which steps the columns stand for."""
    last = traffic.steps - 1
    if traffic.steps == 0:
        return "no step completed"
    if last == 0:
        return "step 0"
    if traffic.steps_alike:
        return f"each step (0 to {last} are alike)"
    return f"steps 0 and {last}" + (f" of {traffic.steps}" if last > 1 else "")


def _cells(traffic: Traffic) -> list[_Cell]:
    last = traffic.steps - 1
    cells: list[_Cell] = []
    if last > 0 and not traffic.steps_alike:
        cells += _volume_cells("step 0", lambda volumes: volumes.per_step[0], wire=False)
    if last >= 0:
        cells += _volume_cells("each step" if last and traffic.steps_alike else f"step {last}", lambda volumes: volumes.per_step[-1])
    if traffic.total.after.calls:
        cells += _volume_cells(f"after step {last}" if last >= 0 else "so far", lambda volumes: volumes.after, wire=last < 0)
    return cells


def _volume_cells(when: str, volume: Callable[[StepVolumes], Volume], *, wire: bool = True) -> list[_Cell]:
    """Columns for one step: calls, bytes and, if asked, bytes on the wire."""
    cells: list[_Cell] = [
        (Column(f"{when}\ncalls", "right"), lambda volumes: str(volume(volumes).calls or "-")),
        (Column("\nbytes", "right"), lambda volumes: _bytes(volume(volumes).nbytes)),
    ]
    if wire:
        cells.append((Column("\non the wire", "right"), lambda volumes: _bytes(volume(volumes).wire_bytes)))
    return cells


def trace_section(rank: RankReport, style: Style) -> list[str]:
    """Every call of the rank in order."""
    title = style.bold(f"Every collective call of rank {rank.record.rank}, in order")
    columns = [
        Column("seq", "right"),
        Column("step", "right"),
        *map(Column, ("phase", "op", "group", "dtype", "in -> out")),
        Column("bytes", "right"),
        *map(Column, ("module", "call site")),
    ]
    return [title, *(grid(columns, map(_trace_row, rank.record.collectives)) if rank.record.collectives else ["none"])]


def _trace_row(record: CollectiveRecord) -> list[str]:
    return [
        str(record.seq),
        str(record.step),
        record.phase,
        record.op,
        _group(record.group, record.group_size),
        record.dtype or "-",
        f"{_sizes(record.input_sizes)} -> {_sizes(record.output_sizes)}",
        _bytes(record.nbytes),
        clip_start(record.module or "-", 36),
        clip_start(record.call_site or "-", 36),
    ]


def _sizes(sizes: tuple[tuple[int, ...], ...]) -> str:
    """`[4096,128]` for one tensor, `8 x [4096,128]` for eight alike, `[4096,128] + 7 more` otherwise."""
    if not sizes:
        return "-"
    first = f"[{','.join(map(str, sizes[0]))}]"
    if len(sizes) == 1:
        return first
    return f"{len(sizes)} x {first}" if len(set(sizes)) == 1 else f"{first} + {len(sizes) - 1} more"


def _group(name: str, size: int) -> str:
    return f"{clip_start(name, 24)} ({size})"


def _bytes(nbytes: int) -> str:
    return format_bytes(nbytes) if nbytes else "-"
