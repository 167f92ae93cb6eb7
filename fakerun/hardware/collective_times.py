"""What collectives took on real accelerators: published runs of nccl-tests, from `collective_times.json`, each with its source.

`scripts/dev/collective_times.py` writes the times of the file from what its sources published.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

DATA_FILE = Path(__file__).with_name("collective_times.json")


class CollectiveKind(StrEnum):
    """What is measured, by the names of nccl-tests' programs without `_perf`."""

    ALL_REDUCE = "all_reduce"
    ALL_GATHER = "all_gather"
    REDUCE_SCATTER = "reduce_scatter"
    ALL_TO_ALL = "alltoall"
    BROADCAST = "broadcast"
    REDUCE = "reduce"
    GATHER = "gather"
    SCATTER = "scatter"
    SEND_RECV = "sendrecv"


def bus_share(kind: CollectiveKind, ranks: int) -> float:
    """Bytes that cross a rank's link, of each byte of the message: the bus factor of nccl-tests (doc/PERFORMANCE.md)."""
    if ranks == 1:
        return 0.0
    if kind is CollectiveKind.ALL_REDUCE:
        return 2 * (ranks - 1) / ranks
    if kind in (CollectiveKind.BROADCAST, CollectiveKind.REDUCE, CollectiveKind.SEND_RECV):
        return 1.0
    return (ranks - 1) / ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSource:
    """Who published a measurement, under which licence, and how it was measured."""

    address: str
    licence: str
    measured: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeCurve:
    """Seconds over message sizes in bytes, as nccl-tests counts them, ascending, of one operation among `ranks` devices.

    The ranks are spread evenly over `nodes`. A node is here what NVLink joins: a rack of GB200 is one. Between several it is the
    `interconnect` of that name (`interconnects.yaml`).
    """

    source: str
    card: str
    kind: CollectiveKind
    ranks: int
    nodes: int
    points: tuple[tuple[int, float], ...]
    interconnect: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveTimes:
    """The data file: `sources` by the name that curves have for them."""

    sources: Mapping[str, TimeSource]
    curves: tuple[TimeCurve, ...]

    def without(self, source: str) -> "CollectiveTimes":
        """What is left if one source had not been published: how curves are held against measurements that they did not see."""
        return CollectiveTimes(sources=self.sources, curves=tuple(curve for curve in self.curves if curve.source != source))


@cache
def collective_times() -> CollectiveTimes:
    """All of fakerun's data file."""
    return load_collective_times(DATA_FILE)


def load_collective_times(path: Path) -> CollectiveTimes:
    """The curves of a data file.

    Raises:
        ValueError: a curve has an operation that nccl-tests does not have.
        KeyError: a curve's source is none of the file's.
    """
    document = json.loads(path.read_text(encoding="utf-8"))
    sources = {name: TimeSource(**each) for name, each in document["sources"].items()}
    return CollectiveTimes(sources=sources, curves=tuple(_curve(each, sources) for each in document["curves"]))


def _curve(text: Mapping[str, Any], sources: Mapping[str, TimeSource]) -> TimeCurve:
    if text["source"] not in sources:
        raise KeyError(f"{text['source']!r} is none of the file's sources")
    return TimeCurve(
        source=text["source"],
        card=text["card"],
        kind=CollectiveKind(text["op"]),
        ranks=text["ranks"],
        nodes=text["nodes"],
        points=_points(text["bytes_us"]),
        interconnect=text.get("interconnect"),
    )


def _points(pairs: Sequence[Sequence[float]]) -> tuple[tuple[int, float], ...]:
    return tuple((int(nbytes), microseconds * 1e-6) for nbytes, microseconds in pairs)
