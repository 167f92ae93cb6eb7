"""Files that the script believes to have written: what each rank changed, in order, and the stand-ins that can be read in their place.

    unwritten/made/                which files the ranks made themselves, while the run lasts (`made_files`)
    unwritten/rank-00003.jsonl     the changes of one rank, a line each, appended while it runs
    unwritten/00003-1234-0         a stand-in: by rank, process and number

They lie in the run directory, which all ranks of a job see, and are removed with it.
"""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from fakerun.records.made_files import MadeFiles


class Change(StrEnum):
    """What becomes of a path."""

    STAND_IN = "stand-in"
    """It reads as the file `target`."""
    LINK = "link"
    """It is a symbolic link to `target`."""
    REMOVED = "removed"
    """There is nothing, whatever really is there."""
    REAL = "real"
    """What really is there counts again: the script wrote it."""
    DIRECTORY = "directory"
    """The script made this directory, which really exists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One change, by one rank. `counts` is how many calls of each group the rank had begun by then, `order` sorts changes of all ranks."""

    change: Change
    path: str
    order: tuple[int, int]
    counts: Mapping[str, int]
    target: str = ""


class UnwrittenFiles:
    """The changes and stand-ins below the directory `path`."""

    def __init__(self, path: Path) -> None:
        self.directory = path / "unwritten"
        self._made_directory = self.directory / "made"
        self.made = MadeFiles(self._made_directory)

    def begin(self) -> None:
        """A run begins. What an earlier one made is the user's by now."""
        shutil.rmtree(self._made_directory, ignore_errors=True)
        self.directory.mkdir(exist_ok=True)
        self.made.begin()

    def begin_rank(self, rank: int) -> None:
        """Drop what the rank did in an interrupted run."""
        self._log(rank).unlink(missing_ok=True)

    def end(self) -> None:
        """The run is over: remove the directories that the script made for stand-ins only, and all of this if it was not needed."""
        self.remove_empty_directories()
        shutil.rmtree(self._made_directory, ignore_errors=True)
        if not self.ranks():
            self.discard()

    def append(self, rank: int, change: FileChange) -> None:
        """Keep a change of the rank. Returns when other processes can see it."""
        with self._log(rank).open("a") as log:
            log.write(json.dumps(asdict(change)) + "\n")

    def changes(self, rank: int, known: int = 0) -> tuple[FileChange, ...]:
        """The changes of the rank up to now, without the first `known`."""
        try:
            lines = self._log(rank).read_text().splitlines()[known:]
        except FileNotFoundError:
            return ()
        return tuple(_change(json.loads(line)) for line in lines)

    def ranks(self) -> frozenset[int]:
        """The ranks that have changed something."""
        return frozenset(int(log.stem.removeprefix("rank-")) for log in self.directory.glob("rank-*.jsonl"))

    def new_stand_in(self, rank: int) -> Path:
        """A path for one more stand-in."""
        number = sum(1 for _ in self.directory.glob(f"{rank:05}-{os.getpid()}-*"))
        return self.directory / f"{rank:05}-{os.getpid()}-{number}"

    def remove_empty_directories(self) -> None:
        """Remove the empty directories that the script made for stand-ins: the next real run would take one for a checkpoint."""
        changes = [change for rank in sorted(self.ranks()) for change in self.changes(rank)]
        stand_ins = {change.path for change in changes if change.change is Change.STAND_IN}
        made = {change.path for change in changes if change.change is Change.DIRECTORY}
        for directory in sorted(made, key=len, reverse=True):
            if any(path.startswith(directory + os.sep) for path in stand_ins) and self.made.is_made(directory):
                with suppress(OSError):  # it holds something, or is gone
                    Path(directory).rmdir()

    def discard(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _log(self, rank: int) -> Path:
        return self.directory / f"rank-{rank:05}.jsonl"


def _change(fields: dict[str, object]) -> FileChange:
    return FileChange(
        change=Change(str(fields["change"])),
        path=str(fields["path"]),
        order=tuple(fields["order"]),  # type: ignore[arg-type]  # written by `append`
        counts=fields["counts"],  # type: ignore[arg-type]
        target=str(fields["target"]),
    )
