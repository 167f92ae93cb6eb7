"""The file that jobs are imported from, and what is said about its lines."""

from dataclasses import dataclass
from pathlib import Path

from fakerun.errors import UsageError
from fakerun.job.document import read_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A text to import, and the name that messages give it."""

    name: str
    text: str

    @property
    def stem(self) -> str:
        """What a job is called that the file does not name."""
        return Path(self.name).stem

    def refusal(self, line: int, message: str) -> UsageError:
        """The error that ends the import: `file:line: message`."""
        return UsageError(f"{self.name}:{line}: {message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something in a line of the source that is not carried over, or that was decided."""

    line: int
    text: str


def read_source(path: Path) -> Source:
    """Read a file to import.

    Raises:
        UsageError: it is no file, not UTF-8, or too large for a description of jobs.
    """
    return Source(name=str(path), text=read_text(path))
