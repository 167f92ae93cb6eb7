"""Runs the ranks of a job, some at a time, each in a process of its own, and has a record of each in the end."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

from fakerun.job.spec import JobSpec
from fakerun.launch.crash import crash_site
from fakerun.launch.environment import worker_environment
from fakerun.launch.failures import LastWords, RankEnd, finished_record, unstarted_record
from fakerun.launch.live_output import LiveOutput
from fakerun.launch.process import RankProcess, RankServer, ServerDiedError
from fakerun.launch.run_directory import RankFiles, RunDirectory
from fakerun.launch.supervision import Watch, ended
from fakerun.records.run import RankRecord

_TAIL_BYTES = 4096


@dataclass(slots=True, kw_only=True)
class _Running:
    rank: int
    process: RankProcess
    watch: Watch
    live_output: AbstractContextManager[object]


class RankPool:
    """At most `limit` ranks at a time. One rank's failure does not stop the others: which ranks fail is part of the answer.

    The user's Ctrl-C does, and a second one without waiting for what the script makes of it.
    """

    def __init__(
        self, job: JobSpec, directory: RunDirectory, *, limit: int, show_output: bool, on_record: Callable[[RankRecord], None]
    ) -> None:
        self._job = job
        self._directory = directory
        self._limit = limit
        self._show_output = show_output
        self._on_record = on_record
        self._server: RankServer | None = None
        self._running: list[_Running] = []
        self._waiting = deque(job.ranks)

    def run(self) -> None:
        """Run all ranks of the job; each record is handed on when its rank has ended."""
        with ExitStack() as stack:
            stack.callback(self._close_server)
            try:
                self._run()
            except KeyboardInterrupt:
                self._interrupt()
            while self._waiting:
                self._record_unstarted(self._waiting.popleft())

    def _run(self) -> None:
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._limit:
                self._start(self._waiting[0])
                self._waiting.popleft()
            if self._running:
                self._await_some()

    def _interrupt(self) -> None:
        try:
            now = time.monotonic()
            for each in self._running:
                each.watch.interrupt(now)
            while self._running:
                self._await_some()
        except KeyboardInterrupt:
            while self._running:
                self._end(self._running[0])

    def _start(self, rank: int) -> None:
        files = self._directory.rank(rank)
        files.make()
        environment = worker_environment(self._job, rank, inherited=os.environ, error_file=files.error)
        try:
            process = self._fork(rank, files, environment)
        except ServerDiedError as death:
            last_words = LastWords(stderr=_tail(self._directory.server_log))
            self._write(rank, finished_record(self._job, rank, RankEnd(status=death.status), None, last_words))
            return
        live_output = LiveOutput((files.stdout, files.stderr), sys.stderr, prefix=f"[rank{rank}]: ") if self._show_output else nullcontext()
        live_output.__enter__()
        timeout_s = self._job.timeout_s
        watch = Watch(process=process, deadline=None if timeout_s is None else time.monotonic() + timeout_s)
        self._running.append(_Running(rank=rank, process=process, watch=watch, live_output=live_output))

    def _fork(self, rank: int, files: RankFiles, environment: Mapping[str, str]) -> RankProcess:
        """From the server that there is; if that one has died (the script may have killed it), from another."""
        if self._server is not None:
            try:
                return self._server.fork(rank, files, environment)
            except ServerDiedError:
                self._close_server()
        self._server = RankServer.start(self._directory.job_file, environment, self._directory.server_log)
        try:
            return self._server.fork(rank, files, environment)
        except ServerDiedError:
            self._close_server()
            raise

    def _await_some(self) -> None:
        """Wait until a rank has ended, or is overdue; record it."""
        over = ended([each.watch for each in self._running], time.monotonic())
        now = time.monotonic()
        for each in tuple(self._running):
            if each.watch in over or each.watch.overdue(now):
                self._end(each)

    def _end(self, running: _Running) -> None:
        status = running.process.close()
        self._running.remove(running)
        running.live_output.__exit__(None, None, None)
        files = self._directory.rank(running.rank)
        written = files.read_record()
        last_words = LastWords() if written is not None else self._last_words(files)
        end = RankEnd(status=status, stopped=running.watch.stopped)
        record = finished_record(self._job, running.rank, end, written, last_words)
        if record is written:
            self._on_record(record)
        else:
            self._write(running.rank, record)

    def _record_unstarted(self, rank: int) -> None:
        self._directory.rank(rank).make()
        self._write(rank, unstarted_record(self._job, rank))

    def _write(self, rank: int, record: RankRecord) -> None:
        self._directory.rank(rank).write_record(record)
        self._on_record(record)

    def _last_words(self, files: RankFiles) -> LastWords:
        report = files.crash.read_text(errors="replace") if files.crash.exists() else ""
        return LastWords(stderr=_tail(files.stderr), crash=crash_site(report, self._job, Path.cwd()))

    def _close_server(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


def _tail(log: Path) -> str:
    """The end of a log file, from the beginning of a line."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    if size > _TAIL_BYTES:
        tail = tail.partition(b"\n")[2]
    return tail.decode(errors="replace")
