"""A file as plain values with the lines of their sources, and the errors that are found in it. It knows nothing about jobs.

All errors of a file are collected; each is one line, `file:line: key: what is wrong, what is allowed`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from fakerun.errors import UsageError
from fakerun.files import read_regular
from fakerun.job.request import near_files

Key: TypeAlias = str | int
"""A key of a map, or an index of a list."""

MOST_PROBLEMS = 20
"""That are shown of one file."""
MOST_BYTES = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error in a file. `path` leads to the value from the top of the file; empty for the file as a whole."""

    line: int
    path: tuple[Key, ...]
    message: str


class JobSource(Protocol):
    """What describes one job: a file, or a part of one over its defaults. Paths start at the job."""

    value: object

    @property
    def file(self) -> Path:
        """The file that it is in; relative paths of the job start at its directory."""

    def line(self, path: Sequence[Key]) -> int:
        """The line of a part, or of its key; of the innermost part that exists if the path continues below it."""

    def text(self, path: Sequence[Key]) -> str:
        """The scalar at `path`, as it is written in the file: `1.50`, not 1.5."""

    def has(self, key: Key) -> bool:
        """Whether the top of the job has that key."""

    def refuse(self, path: Sequence[Key], message: str) -> None:
        """Note an error in the part at `path`."""

    def is_refused(self, path: Sequence[Key]) -> bool:
        """Whether an error is noted in the part at exactly that path."""

    def count_more_problems(self, number: int) -> None:
        """Count errors that are not noted."""


class Document(ABC):
    """One parsed file: its value, the line and the source text of every part, and its problems so far."""

    value: object

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.more_problems = 0
        """Beside these, how many were counted and not noted."""

    @property
    def file(self) -> Path:
        return self.path

    @abstractmethod
    def line(self, path: Sequence[Key]) -> int:
        """The line of a part, or of its key if it has one; of the innermost part that exists if the path continues below it."""

    @abstractmethod
    def text(self, path: Sequence[Key]) -> str:
        """The scalar at `path`, as it is written in the file: `1.50`, not 1.5."""

    def has(self, key: Key) -> bool:
        """Whether the top of the file has that key."""
        return isinstance(self.value, dict) and key in self.value

    def named(self, path: Sequence[Key]) -> str:
        """The key at `path` as messages name it."""
        return dotted(path)

    def refuse(self, path: Sequence[Key], message: str) -> None:
        """Note an error in the part at `path`."""
        self.problems.append(Problem(line=self.line(path), path=tuple(path), message=message))

    def is_refused(self, path: Sequence[Key]) -> bool:
        """Whether an error is noted in the part at exactly that path."""
        return any(problem.path == tuple(path) for problem in self.problems)

    def count_more_problems(self, number: int) -> None:
        """Count errors that are not noted."""
        self.more_problems += number

    def raise_problems(self) -> None:
        """Raise the problems, if there are any.

        Raises:
            UsageError: all problems, in order of line, one on each line.
        """
        if self.problems:
            raise UsageError("\n".join(self._lines()))

    def _lines(self) -> Iterator[str]:
        problems = sorted(self.problems, key=lambda problem: problem.line)
        for problem in problems[:MOST_PROBLEMS]:
            key = f"{self.named(problem.path)}: " if problem.path else ""
            yield f"{self.path}:{problem.line}: {key}{problem.message}"
        left_out = max(0, len(problems) - MOST_PROBLEMS) + self.more_problems
        if left_out:
            yield f"{self.path}: {left_out} more errors"


def dotted(path: Sequence[Key]) -> str:
    """`mesh.tp`, `args[2]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def read_text(path: Path, *, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file that people write.

    Raises:
        UsageError: it cannot be read, is large, or not UTF-8.
    """
    try:
        return read_regular(path, most_bytes=most_bytes).decode("utf-8-sig")
    except OSError as error:
        near = near_files(path) if isinstance(error, FileNotFoundError) else ""
        raise UsageError(f"{path}: cannot read the file: {error.strerror}{near}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}:{line}: not UTF-8: byte 0x{error.object[error.start]:02x}") from error
    except ValueError as error:
        raise UsageError(f"{path}: {error}; such a file is a short text") from error
