"""Progress of a run of several ranks: a bar on stderr if that is a terminal, otherwise only the first rank that fails."""

from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fakerun.cli.terminal import stderr_is_terminal, tell
from fakerun.printable import cut

_MOST_OF_A_MESSAGE = 300

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from fakerun.records.run import RankRecord


class Progress:
    """Shows how many of the ranks have ended, the time left, and which rank failed first.

    `has_terminal` is false if stderr shows what ranks print: there is no place for a bar then.
    """

    def __init__(self, *, has_terminal: bool) -> None:
        self._ranks: set[int] = set()
        self._has_terminal = has_terminal and stderr_is_terminal()
        self._failed_first: int | None = None
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def planned(self, ranks: Collection[int]) -> None:
        """These ranks are to be simulated too."""
        self._ranks.update(ranks)
        if self._bar is None and self._has_terminal and len(self._ranks) > 1:
            self._bar = _bar()
            self._bar.start()
            self._bar.add_task("ranks", total=None, failed="")
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=len(self._ranks))

    def ended(self, record: "RankRecord") -> None:
        """A rank has ended."""
        if record.failure is not None and self._failed_first is None:
            self._failed_first = record.rank
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], failed=f"rank {record.rank} failed first")
            elif len(self._ranks) > 1:
                tell(f"rank {record.rank} failed first: {cut(record.failure.summary_line, _MOST_OF_A_MESSAGE)}")
        if self._bar is not None and record.rank in self._ranks:  # others were simulated for their sake
            self._bar.advance(self._bar.task_ids[0])


def _bar() -> "Bar":
    # Imported on use: it is not needed for one rank or in a pipe.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("fakerun: ranks"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[red]{task.fields[failed]}"),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
