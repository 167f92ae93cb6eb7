"""Progress of a run, on stderr: on a terminal how many ranks have ended, what one does, and the time; elsewhere what is remarkable.

Of several jobs: how many are done; elsewhere a line for each of them.
"""

import time
from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING, Self

from fakerun.cli.terminal import stderr_is_terminal, tell
from fakerun.printable import cut, printable

_MOST_OF_A_MESSAGE = 300
_ON_A_TERMINAL_S, _ELSEWHERE_S = 1.0, 15.0
"""How often ranks are asked where they are."""

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from fakerun.records.position import RankPosition
    from fakerun.records.run import RankRecord


class Progress:
    """Shows how many of the ranks have ended, the time, where a rank is, and which rank failed first. It is a `launch.RunWatcher`.

    `has_terminal` is false if stderr shows what ranks print: there is no place for a bar then. `is_open_ended` says that further ranks
    may follow from what the first ones do (`--ranks auto`).
    """

    def __init__(self, *, has_terminal: bool, is_open_ended: bool = False) -> None:
        self._ranks: set[int] = set()
        self._ended: set[int] = set()
        self._has_terminal = has_terminal and stderr_is_terminal()
        self._is_open_ended = is_open_ended
        self._failed_first: int | None = None
        self._at, self._failed = "loading torch", ""
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def position_interval_s(self) -> float:
        return _ON_A_TERMINAL_S if self._has_terminal else _ELSEWHERE_S

    def planned(self, ranks: Collection[int]) -> None:
        """These ranks are to be simulated too."""
        self._ranks.update(ranks)
        if self._bar is None and self._has_terminal and self._ranks:
            self._bar = _bar()
            self._bar.start()
            self._bar.add_task("ranks", total=None, count="", at="loading torch", failed="")
        self._update()

    def started(self, rank: int) -> None:
        """A rank runs."""

    def done(self) -> None:
        """The job is done."""

    def ended(self, record: "RankRecord") -> None:
        """A rank has ended."""
        if record.failure is not None and self._failed_first is None:
            self._failed_first = record.rank
            if self._bar is not None:
                self._update(failed=f"rank {record.rank} failed first")
            elif len(self._ranks) > 1:
                tell(f"rank {record.rank} failed first: {cut(record.failure.summary_line, _MOST_OF_A_MESSAGE)}")
        if record.rank in self._ranks:  # others were simulated for their sake
            self._ended.add(record.rank)
        self._update(at="")

    def at(self, rank: int, position: "RankPosition") -> None:
        """A rank is there."""
        self._update(at=f"rank {rank}: {_where(position)}")

    def silent(self, rank: int, position: "RankPosition | None", seconds: float) -> None:
        """There has been no news of a rank for that long."""
        tell(_silence(rank, position, seconds))

    def _update(self, *, at: str | None = None, failed: str | None = None) -> None:
        """Draw the bar again; what is None stays."""
        if self._bar is None:
            return
        so_far = " so far" if self._is_open_ended else ""
        count = f"{len(self._ended)}/{len(self._ranks)} ranks{so_far}" if len(self._ranks) > 1 else ""
        self._at = self._at if at is None else at
        self._failed = self._failed if failed is None else failed
        (task,) = self._bar.task_ids
        self._bar.update(task, total=len(self._ranks), completed=len(self._ended), count=count, at=self._at, failed=self._failed)


class JobsProgress:
    """Shows how many of several jobs are done, the time, and which of them run. `of` makes the `launch.RunWatcher` of a job."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._done = 0
        self._running: dict[str, None] = {}
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if stderr_is_terminal() and self._number:
            self._bar = _bar()
            self._bar.start()
            self._bar.add_task("jobs", total=self._number, count=f"0/{self._number} jobs", at="loading torch", failed="")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def of(self, name: str) -> "JobProgress":
        """The watcher of the job with this name."""
        return JobProgress(name, self)

    def started(self, name: str) -> None:
        """The first rank of a job runs."""
        self._running[name] = None
        self._update()

    def done(self, job: "JobProgress") -> None:
        """A job is done."""
        self._done += 1
        self._running.pop(job.name, None)
        if self._bar is None:
            ranks = f"{job.ranks} rank{'s' * (job.ranks != 1)}"
            failed = ", failed" if job.failed else ""
            tell(f"{self._done}/{self._number} {job.name}: {ranks} in {job.seconds:.1f} s{failed}")
        self._update()

    def _update(self) -> None:
        if self._bar is not None:
            (task,) = self._bar.task_ids
            at = ", ".join(map(printable, self._running))
            self._bar.update(task, completed=self._done, count=f"{self._done}/{self._number} jobs", at=at)


class JobProgress:
    """One of several jobs: how many of its ranks have ended, whether one failed, and `seconds`, the time from its first rank to its end."""

    position_interval_s = _ELSEWHERE_S

    def __init__(self, name: str, jobs: JobsProgress) -> None:
        self.name = name
        self.ranks = 0
        self.seconds = 0.0
        self.failed = False
        self._jobs = jobs
        self._began: float | None = None

    def planned(self, ranks: Collection[int]) -> None:
        """These ranks are to be simulated too."""

    def started(self, rank: int) -> None:
        """A rank runs."""
        if self._began is None:
            self._began = time.monotonic()
            self._jobs.started(self.name)

    def ended(self, record: "RankRecord") -> None:
        """A rank has ended."""
        self.ranks += 1
        self.failed |= record.failure is not None

    def done(self) -> None:
        """The job is done."""
        self.seconds = 0.0 if self._began is None else time.monotonic() - self._began
        self._jobs.done(self)

    def at(self, rank: int, position: "RankPosition") -> None:
        """A rank is there."""

    def silent(self, rank: int, position: "RankPosition | None", seconds: float) -> None:
        """There has been no news of a rank for that long."""
        tell(f"{self.name}: {_silence(rank, position, seconds)}")


def _silence(rank: int, position: "RankPosition | None", seconds: float) -> str:
    is_at = "has not said where it is" if position is None else f"is still at {_line(position)}, in step {position.steps}"
    return f"rank {rank} {is_at}: no collective, allocation or step for {seconds:.0f} s"


def _where(position: "RankPosition") -> str:
    return f"step {position.steps}, {_line(position)}"


def _line(position: "RankPosition") -> str:
    return printable(str(position.call_site or "no line of the script"))


def _bar() -> "Bar":
    # Imported on use: it is not needed in a pipe.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("fakerun:"),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[at]}", markup=False),
        TextColumn("[red]{task.fields[failed]}"),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
