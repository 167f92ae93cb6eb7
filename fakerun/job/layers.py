"""A job that is described in several parts of a file: its own, over the file's defaults.

`env`, `budgets` and `matrix` are merged key by key; a job's own list, scalar or other map (a mesh, a hardware) replaces the default whole:
the axes of two meshes make no third one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakerun.job.document import Document, Key

MERGED = ("env", "budgets", "matrix")
"""The keys whose maps are merged."""


@dataclass(slots=True, kw_only=True)
class LayeredJob:
    """One job of a document, a `JobSource`.

    `layers` are paths to its parts, the first goes before the second; `chosen` leads from a key of the job to the value that its matrix
    gives it. `name` is how messages call it where an error is not in its own part.
    """

    document: Document
    name: str
    layers: tuple[tuple[Key, ...], ...]
    value: object
    chosen: Mapping[tuple[Key, ...], tuple[Key, ...]] = field(default_factory=dict)
    is_wrong: bool = False

    @property
    def file(self) -> Path:
        return self.document.path

    def line(self, path: Sequence[Key]) -> int:
        return self.document.line(self.place(path))

    def text(self, path: Sequence[Key]) -> str:
        return self.document.text(self.place(path))

    def has(self, key: Key) -> bool:
        return isinstance(self.value, dict) and key in self.value

    def refuse(self, path: Sequence[Key], message: str) -> None:
        self.is_wrong = True
        place = self.place(path)
        own = self.layers[0]
        if place[: len(own)] == own:
            if not any(problem.path == place and problem.message == message for problem in self.document.problems):
                self.document.refuse(place, message)  # the combinations of a matrix share it
        elif not self.document.is_refused(place):  # the jobs that share it would all repeat it
            self.document.refuse(place, f"{message} (in job {self.name})")

    def is_refused(self, path: Sequence[Key]) -> bool:
        return self.document.is_refused(self.place(path))

    def count_more_problems(self, number: int) -> None:
        self.document.count_more_problems(number)

    def place(self, path: Sequence[Key]) -> tuple[Key, ...]:
        """Where that part of the job is in the file."""
        path = tuple(path)
        for end in range(len(path), 0, -1):
            if path[:end] in self.chosen:
                return (*self.chosen[path[:end]], *path[end:])
        for layer in self.layers:
            if _exists(self.document.value, (*layer, *path)):
                return (*layer, *path)
        return (*self.layers[0], *path)


_INSTEAD_OF = {
    "script": ("module",),
    "module": ("script",),
    "rank": ("ranks",),
    "ranks": ("rank",),
    "world_size": ("nnodes", "nproc_per_node"),
}
"""A job's own key, and the defaults that it stands in for, beside the default of its own name."""


def merged(own: object, below: object) -> object:
    """A job's own keys over the defaults."""
    if not isinstance(own, dict) or not isinstance(below, dict):
        return own
    memo: dict[tuple[int, int], object] = {}
    both = {key: _over(own[key], below[key], memo) for key in MERGED if key in own and key in below}
    replaced = {other for key in own for other in _INSTEAD_OF.get(key, ())}
    if {"nnodes", "nproc_per_node"} <= own.keys():
        replaced.add("world_size")
    return {**{key: value for key, value in below.items() if key not in replaced}, **own, **both}


def _over(own: Any, below: Any, memo: dict[tuple[int, int], object]) -> object:
    """`own` over `below`, once for each pair of them: aliases share their values."""
    if not isinstance(own, dict) or not isinstance(below, dict):
        return own
    pair = id(own), id(below)
    if pair not in memo:
        both = {key: _over(own[key], below[key], memo) for key in own if key in below}
        memo[pair] = {**below, **own, **both}
    return memo[pair]


def _exists(value: Any, path: Sequence[Key]) -> bool:
    for key in path:
        if isinstance(value, dict):
            if key not in value:
                return False
        elif not isinstance(value, list) or not isinstance(key, int) or key >= len(value):
            return False
        value = value[key]
    return True
