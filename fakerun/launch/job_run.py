"""JobRun: one job while it runs. Which of its ranks are queued, running and recorded, and the values that they exchange."""

import os
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Protocol

from fakerun.job.spec import JobSpec
from fakerun.launch.crash import crash_site
from fakerun.launch.environment import with_hash_seed, worker_environment
from fakerun.launch.failures import Diagnostics, RankEnd, finished_record, is_exit_unexplained, unstarted_record
from fakerun.launch.mailbox import JobMailbox
from fakerun.launch.position_watch import PositionWatch
from fakerun.launch.process import RankProcess, tail
from fakerun.launch.rank_selection import run_record_of, selection_for
from fakerun.launch.resume import finished_ranks
from fakerun.launch.run_directory import RunDirectory
from fakerun.launch.server import RankTask
from fakerun.launch.supervision import Supervision
from fakerun.records.journal_reader import recorded_in
from fakerun.records.position import RankPosition
from fakerun.records.run import RankRecord, RunRecord


class RunWatcher(Protocol):
    """Is notified of the progress of a job."""

    def planned(self, ranks: Collection[int]) -> None:
        """These ranks are to be simulated too."""

    def started(self, rank: int) -> None:
        """A rank runs."""

    def ended(self, record: RankRecord) -> None:
        """A rank has ended, or its record was there already."""

    def done(self) -> None:
        """The job is done: no rank follows."""

    def at(self, rank: int, position: RankPosition) -> None:
        """A rank is there."""

    def silent(self, rank: int, position: RankPosition | None, seconds: float) -> None:
        """There has been no news of a rank for that long; it was there when it last answered, None if it never has."""

    @property
    def position_interval_s(self) -> float:
        """How often ranks are asked where they are."""


class _NoWatcher:
    def planned(self, ranks: Collection[int]) -> None: ...

    def started(self, rank: int) -> None: ...

    def ended(self, record: RankRecord) -> None: ...

    def done(self) -> None: ...

    def at(self, rank: int, position: RankPosition) -> None: ...

    def silent(self, rank: int, position: RankPosition | None, seconds: float) -> None: ...

    position_interval_s = inf


NO_WATCHER = _NoWatcher()


@dataclass(slots=True, kw_only=True)
class RunningRank:
    """A rank that has been forked and has not been closed."""

    rank: int
    process: RankProcess
    supervision: Supervision
    live_output: AbstractContextManager[object]
    watch: PositionWatch
    is_connected: bool = True


class JobRun:
    """One run of `job`, kept in `directory`. The pool starts and ends its ranks; `watcher` is notified of each.

    With `notes_inputs` each rank notes what it reads (`records.inputs`). Python then calls a hook at each access to a frame or a code
    object, 240,000 times in two steps of Llama 3 8B on 16 x 4 ranks.
    """

    def __init__(self, job: JobSpec, directory: RunDirectory, *, watcher: RunWatcher = NO_WATCHER, notes_inputs: bool = False) -> None:
        self.job = job
        self._notes_inputs = notes_inputs
        self.directory = directory
        self.mailbox = JobMailbox()
        self.queue: deque[int] = deque()
        self.running: dict[int, RunningRank] = {}
        self.is_done = False
        self.watcher = watcher
        self._records: dict[int, RankRecord] = {}
        self._selection = selection_for(job)
        self._known: set[int] = set()
        self.mailbox.representative_of = self._selection.representative_of

    def begin(self) -> None:
        """Keep the job in the directory, and take over the records of ranks that an earlier run has finished there."""
        self._records = {record.rank: record for record in finished_ranks(self.directory)}
        self.directory.write_job(self.job)
        self.directory.unwritten.begin()
        self.directory.records.begin()
        self.directory.records.write_run(replace(run_record_of(()), is_complete=False))
        self.watcher.planned(self.job.ranks or tuple(self._records))
        for record in self._records.values():
            self.watcher.ended(record)

    def refill(self) -> None:
        """Queue the ranks that are to be simulated next, if nothing is queued or running; without any, the run is done."""
        if self.queue or self.running or self.is_done:
            return
        ranks = self._selection.next(self._records)
        self.is_done = not ranks
        if self.is_done:
            self.watcher.done()
        self.watcher.planned(ranks)
        self.queue.extend(ranks)
        self._known.update(ranks)

    def queue_first(self, rank: int) -> None:
        """Run `rank` next, because another rank waits for it, whether it was to be simulated or not."""
        if rank in self.running:
            return
        if rank in self._known:
            self.queue.remove(rank)
        self._known.add(rank)
        self.queue.appendleft(rank)

    def task(self, rank: int) -> RankTask:
        """What the fork server needs to know of the rank; its directory exists then."""
        files = self.directory.rank(rank)
        files.make()
        if self._notes_inputs:
            files.inputs.touch()
        return RankTask(job_file=self.directory.job_file, rank=rank, files=files, workdir=self._workdir, environment=self.environment(rank))

    @property
    def _workdir(self) -> Path:
        """Where the ranks start."""
        return self.job.workdir or Path.cwd()

    def environment(self, rank: int) -> Mapping[str, str]:
        """The rank's whole environment."""
        error_file = self.directory.rank(rank).error
        return with_hash_seed(worker_environment(self.job, rank, inherited=os.environ, error_file=error_file), rank)

    def started(self, running: RunningRank) -> None:
        """The rank runs."""
        self.queue.remove(running.rank)
        self.running[running.rank] = running
        self.watcher.started(running.rank)

    def ended(self, rank: int, status: int) -> None:
        """A running rank has ended; keep its record."""
        supervision = self.running.pop(rank).supervision
        self.mailbox.end(rank)
        written = self.directory.records.read(rank)
        until_then = self._recorded_until_death(rank) if written is None else None
        self.directory.rank(rank).journal.unlink(missing_ok=True)
        is_explained = written is not None and not (written.failure is not None and is_exit_unexplained(written.failure))
        diagnostics = Diagnostics() if is_explained else self._diagnostics(rank)
        record = finished_record(self.job, rank, RankEnd(status=status, stopped=supervision.stopped), written, diagnostics, until_then)
        self._keep(record, is_written=record is written)

    def could_not_start(self, rank: int, status: int, log: str) -> None:
        """The fork server died, with this status and the end of its log, instead of starting the rank."""
        self.queue.remove(rank)
        self.mailbox.end(rank)
        self._keep(finished_record(self.job, rank, RankEnd(status=status), None, Diagnostics(stderr=log)))

    def finish(self) -> RunRecord:
        """Keep and return the record of the run. Ranks that are still queued were kept from starting by the user's Ctrl-C."""
        for rank in self.queue:
            self.directory.rank(rank).make()
            self._keep(unstarted_record(self.job, rank))
        self.queue.clear()
        self.directory.unwritten.end()
        run = self._selection.run_record(self._records, is_complete=self.is_done)
        self.directory.records.write_run(run)
        return run

    def _keep(self, record: RankRecord, *, is_written: bool = False) -> None:
        if not is_written:
            self.directory.records.write(record)
        self._records[record.rank] = record
        self.watcher.ended(record)

    def _recorded_until_death(self, rank: int) -> RankRecord | None:
        job = self.job
        return recorded_in(self.directory.rank(rank).journal, rank, world_size=job.world_size, asked=job.mesh)

    def _diagnostics(self, rank: int) -> Diagnostics:
        files = self.directory.rank(rank)
        report = files.crash.read_text(errors="replace") if files.crash.exists() else ""
        with files.stderr.open("rb") as stderr:
            return Diagnostics(stderr=tail(stderr), crash=crash_site(report, self.job, self._workdir))
