"""`[tool.fakerun]` of a pyproject.toml as plain values with the lines of their sources. It knows nothing about jobs.

tomllib tells no lines; they are looked for in the text, table by table. Where a key is written in a way that is not found (an inline
table over several lines, a quoted key), the line is that of the innermost part that is.
"""

import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fakerun.errors import UsageError
from fakerun.job.document import Document, Key, dotted, read_text

TABLE: tuple[Key, ...] = ("tool", "fakerun")

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?")
_ASSIGNMENT = re.compile(r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*=")
_KEY = re.compile(r"\"([^\"]*)\"|'([^']*)'|([\w-]+)")
_LINE_OF_ERROR = re.compile(r" \(at line ([0-9]+), column [0-9]+\)$")


class _Written(float):
    """A number with a fraction, with the text that it was written as."""

    text: str


class TomlDocument(Document):
    """The table of a pyproject.toml that is fakerun's. Paths start at the table."""

    def __init__(self, path: Path) -> None:
        """Read and parse.

        Raises:
            UsageError: the file cannot be read, is not TOML, or has no such table.
        """
        super().__init__(path)
        text = read_text(path)
        self.value = _table(_parsed(path, text))
        if self.value is None:
            raise UsageError(f"{path}: has no table [{dotted(TABLE)}]; add one, or pass the path of a job file")
        self._lines_of = dict(reversed(list(_lines_of_keys(text))))  # the first of each

    def line(self, path: Sequence[Key]) -> int:
        """The line of a part; of the innermost part that was found, 1 if none was."""
        whole = (*TABLE, *path)
        return next((self._lines_of[whole[:end]] for end in range(len(whole), 0, -1) if whole[:end] in self._lines_of), 1)

    def text(self, path: Sequence[Key]) -> str:
        """The scalar at `path`, as it is written in the file."""
        value: Any = self.value
        for key in path:
            value = value[key]
        if isinstance(value, bool):
            return str(value).lower()
        return value.text if isinstance(value, _Written) else str(value)

    def named(self, path: Sequence[Key]) -> str:
        return dotted((*TABLE, *path))


def has_table(path: Path) -> bool:
    """Whether the file is a pyproject.toml with a table of fakerun's.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    return _table(_parsed(path, read_text(path))) is not None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text, parse_float=_written)
    except tomllib.TOMLDecodeError as error:
        found = _LINE_OF_ERROR.search(str(error))
        line = found[1] if found else text.count("\n") + 1
        message = _LINE_OF_ERROR.sub("", str(error)).replace(" (at end of document)", "")
        raise UsageError(f"{path}:{line}: not valid TOML: {message}") from error
    except RecursionError as error:
        raise UsageError(f"{path}:1: not valid TOML: lists or tables are nested too deeply") from error
    except ValueError as error:  # more digits than Python converts; a date that no calendar has
        raise UsageError(f"{path}:1: not valid TOML: a number or a date is not possible") from error


def _table(document: dict[str, Any]) -> object:
    tool = document.get("tool")
    return tool.get("fakerun") if isinstance(tool, dict) else None


def _written(text: str) -> float:
    number = _Written(text)
    number.text = text
    return number


def _lines_of_keys(text: str) -> Iterator[tuple[tuple[Key, ...], int]]:
    """The keys and the headers of tables in the text, with their lines. Text within strings of several lines is taken for keys, too."""
    table: tuple[Key, ...] = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.fullmatch(line):
            table = _keys(header[1])
            yield from ((table[:end], number) for end in range(1, len(table) + 1))
        elif assignment := _ASSIGNMENT.match(line):
            path = (*table, *_keys(assignment[1]))
            yield from ((path[:end], number) for end in range(len(table) + 1, len(path) + 1))


def _keys(text: str) -> tuple[Key, ...]:
    return tuple(found[1] or found[2] or found[3] or "" for found in _KEY.finditer(text))
