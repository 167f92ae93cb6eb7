"""What nccl-tests prints, read: which operation, among how many devices on how many hosts, and its times over sizes."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fakerun.errors import UsageError
from fakerun.hardware.accelerator import Accelerator
from fakerun.hardware.collective_times import CollectiveKind, bus_share

_HEAD = re.compile(r"\bnThread +\d+ +nGpus +\d+|# *Using devices|\bsize +count +type\b")
_PROGRAM = re.compile(rf"\b({'|'.join(CollectiveKind)})_perf\b")
_RANK = re.compile(r"# *Rank +(\d{1,9}) .*?Pid +\d+ on +(\S+) +device +\d+ +\[[^]]*\] *(.*\S)?")
_VERSION = re.compile(r"NCCL version[: ]+(\d+\.\d+\.\d+)")
_NUMBER = r"[-+.\dNAe/]+"
_ROW = re.compile(
    r"(?:^|[\s:])(?P<bytes>\d{1,18}) +\d+ +(?:u?int|float|half|double|bfloat|f8)\w*(?P<redop> +[a-z]+)?"
    rf" +(?P<numbers>{_NUMBER}(?: +{_NUMBER}){{3,8}})\s*$"
)
_REDUCES = frozenset({CollectiveKind.ALL_REDUCE, CollectiveKind.REDUCE_SCATTER, CollectiveKind.REDUCE})
_MOST_RANKS_BY_FACTOR = 16
_NEAR = 0.02
"""Rates are printed with two digits after the point; the ratio of two of at least 1 GB/s is that near to the bus factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NcclTestsRun:
    """One run of one of nccl-tests' programs.

    `points` are (bytes, seconds), ascending, of the out-of-place run. `hosts` counts the machines that the devices are on, `device_name`
    is the driver's name of the first; both are None if no devices are printed.
    """

    kind: CollectiveKind
    ranks: int
    hosts: int | None
    device_name: str | None
    nccl_version: str | None
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A row of the table, out of place: rates are in GB/s."""

    nbytes: int
    seconds: float
    algbw: float
    busbw: float
    reduces: bool


@dataclass(slots=True, kw_only=True)
class _Text:
    """What was found of a run while its lines are read."""

    program: CollectiveKind | None = None
    version: str | None = None
    devices: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    rows: list[_Row] = field(default_factory=list)


def read_nccl_tests_output(text: str) -> tuple[NcclTestsRun, ...]:
    """The runs in what nccl-tests printed, one program after the other. Anything else among the lines, as NCCL's log, is skipped.

    Raises:
        UsageError: there is no row of a result in it, or it cannot be told which operation was measured or among how many devices.
    """
    runs = tuple(_run(each) for each in _texts(text.splitlines()) if each.rows)
    if not runs:
        raise UsageError("no result of nccl-tests in it: give the whole output of a program such as all_reduce_perf, as printed")
    return runs


def printed_points(text: str) -> tuple[tuple[tuple[int, float], ...], ...]:
    """The (bytes, seconds) out of place of each run in it, ascending, whatever it is a run of."""
    return tuple(_points(each) for each in _texts(text.splitlines()) if each.rows)


def is_nccl_tests_output(text: str) -> bool:
    """Whether there is a row of a result in it, or the head of a table of them."""
    return any(_row(line) or _HEAD.search(line) for line in text.splitlines())


def check_device(run: NcclTestsRun, accelerator: Accelerator) -> None:
    """Refuse a run that was made on another accelerator than `accelerator`.

    Raises:
        UsageError: it names both, and what to give instead.
    """
    measured, simulated = (run.device_name or "").removeprefix("NVIDIA "), accelerator.device_name.removeprefix("NVIDIA ")
    if measured and measured != simulated:
        raise UsageError(
            f"nccl-tests ran on {run.device_name!r}, and the job runs on {accelerator.device_name!r} ({accelerator.name}): "
            "give measurements of that accelerator, or the other --hardware"
        )


def _texts(lines: Iterable[str]) -> Iterator[_Text]:
    """A run ends where the head of the next one comes, or smaller messages; its program may be named before its head, in the command."""
    current = _Text()
    for line in lines:
        program, row = _PROGRAM.search(line), _row(line)
        is_next = program or _HEAD.search(line) or (row and current.rows and row.nbytes < current.rows[-1].nbytes)
        if current.rows and is_next:
            yield current
            current = _Text(version=current.version)
        if program:
            current.program = CollectiveKind(program[1])
        if row is not None:
            current.rows.append(row)
        elif version := _VERSION.search(line):
            current.version = version[1]
        elif rank := _RANK.search(line):
            current.devices[int(rank[1])] = (rank[2], rank[3])
    yield current


def _row(line: str) -> _Row | None:
    """The row in a line, if there is one. Older versions print no root; the time is the number that agrees with size and rate."""
    match = _ROW.search(line)
    if match is None:
        return None
    nbytes, reduces = int(match["bytes"]), (match["redop"] or "none").strip() != "none"
    numbers = [_number(text) for text in match["numbers"].split()]
    for time, algbw, busbw in (numbers[:3], numbers[1:4]):
        if time > 0 and abs(nbytes / time / 1e3 - algbw) <= 0.006 + 0.01 * algbw:
            return _Row(nbytes=nbytes, seconds=time * 1e-6, algbw=algbw, busbw=busbw, reduces=reduces)
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _run(text: _Text) -> NcclTestsRun:
    ranks = 1 + max(text.devices) if text.devices else _ranks_of(text)
    return NcclTestsRun(
        kind=text.program or _kind_of(text, ranks),
        ranks=ranks,
        hosts=len({host for host, _ in text.devices.values()}) or None,
        device_name=text.devices[min(text.devices)][1] if text.devices else None,
        nccl_version=text.version,
        points=_points(text),
    )


def _points(text: _Text) -> tuple[tuple[int, float], ...]:
    return tuple(sorted({row.nbytes: row.seconds for row in text.rows if row.nbytes}.items()))


def _bus_factor(text: _Text) -> float:
    """The bus rate of each unit of the algorithm's rate, of the fastest row, where rounding matters least."""
    fastest = max(text.rows, key=lambda row: row.algbw)
    if fastest.algbw < 1:
        raise UsageError(
            "nccl-tests' rates are too low to tell what was measured: keep the lines before the table, with command and devices"
        )
    return fastest.busbw / fastest.algbw


def _kind_of(text: _Text, ranks: int) -> CollectiveKind:
    """The operation, by its bus factor and whether it reduces: what is left when the name of the program is not printed."""
    factor, reduces = _bus_factor(text), text.rows[0].reduces
    fitting = [kind for kind in CollectiveKind if abs(bus_share(kind, ranks) - factor) <= _NEAR * factor and (kind in _REDUCES) == reduces]
    if len(fitting) != 1:
        among = " or ".join(f"{kind}_perf" for kind in fitting) or "none of its programs"
        raise UsageError(f"which of nccl-tests' programs printed this cannot be told ({among} fits): keep the line with the command")
    return fitting[0]


def _ranks_of(text: _Text) -> int:
    """The number of devices where none is listed: of 2 (n - 1) / n or (n - 1) / n it is known to about 1 in 50."""
    factor = _bus_factor(text)
    factor = factor / 2 if factor > 1 + _NEAR or text.program is CollectiveKind.ALL_REDUCE else factor
    if factor < 1 - 1e-3 and (ranks := round(1 / (1 - factor))) <= _MOST_RANKS_BY_FACTOR:
        return ranks
    raise UsageError("among how many devices nccl-tests ran cannot be told: keep the lines that start with '#  Rank'")
