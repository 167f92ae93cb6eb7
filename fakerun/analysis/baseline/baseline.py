"""Baseline: what a job communicates and needs, without lines, host names or times: the same job gives equal baselines.

Ranks are described by class. A module's name has `*` for every index. All sizes are bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from fakerun.records.collective import Phase
from fakerun.records.memory import Category


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A communication call. `peer` is an offset of group ranks, `root` a group rank; `dtype` is "" for a barrier.

    `function` is the function that the call was issued in: it helps to find the call, and is not compared (`same`).
    """

    op: str
    reduce_op: str | None
    dtype: str
    nbytes: int
    group: str | None
    group_size: int
    peer: int | None
    root: int | None
    phase: Phase
    module: str | None
    function: str | None

    @property
    def same(self) -> "Call":
        """What is compared: all but the function."""
        return replace(self, function=None)


@dataclass(frozen=True, slots=True)
class Repeat:
    """Items that are issued `count` times in a row; at least twice."""

    count: int
    items: "Items"


Items: TypeAlias = tuple[Call | Repeat, ...]
"""Calls in order, in run-length form."""


@dataclass(frozen=True, slots=True)
class Part:
    """The calls of one part of the program: `before the first step`, `each step` or distinct steps, `after the last step`."""

    name: str
    items: Items


@dataclass(frozen=True, slots=True)
class Schedule:
    """The calls of a rank, by part of the program, in order; without parts that have none."""

    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleMemory:
    """What `instances` modules of one pattern hold at the peak, by category without zeros."""

    instances: int
    categories: Mapping[Category, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """Memory of a rank on one device. `modules` is None where it is not known (a report in JSON).

    `peak` says in words what allocated the peak. `recomputed` are bytes of activations that are allocated in backward during the last
    step, by module: what activation checkpointing computes again.
    """

    allocated: int
    reserved: int
    peak: str
    categories: Mapping[Category, int]
    modules: Mapping[str, ModuleMemory] | None
    recomputed: Mapping[str, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupVolume:
    """Calls and bytes of one group in the last completed step; `inter_node_bytes` is the part of the bus bytes that leaves the node."""

    calls: int
    nbytes: int
    bus_bytes: int
    inter_node_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassBaseline:
    """Ranks that behave the same. `ranks` is a box of the mesh, else a list of ranks.

    `devices` is by name: `cuda:LOCAL_RANK` where each rank uses the device of its local rank. `ended` is empty if the ranks came to an end.
    """

    ranks: str
    count: int
    ended: str
    schedule: Schedule
    traffic: Mapping[str, GroupVolume]
    devices: Mapping[str, DeviceProfile]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLine:
    """What was run: it is told where two baselines differ, and only the mesh and the number of ranks are differences of their own."""

    program: str
    ranks: str
    hardware: str
    mesh: str
    steps: str
    made_with: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """One job: what was run, and the classes of its ranks in order of their first rank."""

    job: JobLine
    classes: tuple[ClassBaseline, ...]
