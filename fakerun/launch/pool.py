"""Runs the ranks of a job, some at a time, each in a process of its own, lets them talk, and has a record of each in the end."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from pathlib import Path
from types import TracebackType
from typing import Self

from fakerun.job.spec import JobSpec
from fakerun.launch.crash import crash_site
from fakerun.launch.environment import worker_environment
from fakerun.launch.failures import LastWords, RankEnd, finished_record, unstarted_record
from fakerun.launch.live_output import LiveOutput
from fakerun.launch.mailbox import JobMailbox
from fakerun.launch.process import RankProcess, RankServer, ServerDiedError
from fakerun.launch.run_directory import RankFiles, RunDirectory
from fakerun.launch.supervision import Watch, patience_s
from fakerun.records.mailbox import Unavailable
from fakerun.records.run import RankRecord

_TAIL_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many ranks at a time: that work, and that are there at all (those that wait for others do not work)."""

    working: int
    alive: int


@dataclass(slots=True, kw_only=True)
class _Running:
    rank: int
    process: RankProcess
    watch: Watch
    live_output: AbstractContextManager[object]
    is_connected: bool = True


class RankPool:
    """Some ranks at a time. One rank's failure does not stop the others: which ranks fail is part of the answer.

    The user's Ctrl-C does, and a second one without waiting for what the script makes of it. A rank that others wait for is run next,
    also if it was not among those to simulate.
    """

    def __init__(
        self, job: JobSpec, directory: RunDirectory, *, limits: Limits, show_output: bool, on_record: Callable[[RankRecord], None]
    ) -> None:
        self.is_interrupted = False
        self._job = job
        self._directory = directory
        self._limits = limits
        self._show_output = show_output
        self._on_record = on_record
        self._server: RankServer | None = None
        self.mailbox = JobMailbox()
        self._running: dict[int, _Running] = {}
        self._queue: deque[int] = deque()
        self._known: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._close_server()

    def run(self, ranks: Iterable[int]) -> None:
        """Run these ranks; each record is handed on when its rank has ended."""
        self._queue.extend(ranks)
        self._known.update(self._queue)
        try:
            while self._queue or self._running:
                self._start_some()
                self._await_some()
        except KeyboardInterrupt:
            self._interrupt()
        while self._queue:
            self._record_unstarted(self._queue.popleft())

    def _interrupt(self) -> None:
        self.is_interrupted = True
        try:
            now = time.monotonic()
            for each in self._running.values():
                each.watch.interrupt(now)
            while self._running:
                self.mailbox.fail_pending(Unavailable.ENDED)
                self._await_some()
        except KeyboardInterrupt:
            for each in tuple(self._running.values()):
                self._end(each)

    # -- starting --------------------------------------------------------------------------------------------------------------------

    def _start_some(self) -> None:
        while self._queue and self._has_room():
            self._start(self._queue[0])
            self._queue.popleft()

    def _has_room(self) -> bool:
        working = len(self._running) - len(self.mailbox.waiting)
        return working < self._limits.working and len(self._running) < self._limits.alive

    def _start(self, rank: int) -> None:
        files = self._directory.rank(rank)
        files.make()
        environment = worker_environment(self._job, rank, inherited=os.environ, error_file=files.error)
        try:
            process = self._fork(rank, files, environment)
        except ServerDiedError as death:
            last_words = LastWords(stderr=_tail(self._directory.server_log))
            self.mailbox.end(rank)
            self._write(finished_record(self._job, rank, RankEnd(status=death.status), None, last_words))
            return
        live_output = LiveOutput((files.stdout, files.stderr), sys.stderr, prefix=f"[rank{rank}]: ") if self._show_output else nullcontext()
        live_output.__enter__()
        timeout_s = self._job.timeout_s
        watch = Watch(process=process, deadline=None if timeout_s is None else time.monotonic() + timeout_s)
        self._running[rank] = _Running(rank=rank, process=process, watch=watch, live_output=live_output)

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

    def _close_server(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    # -- waiting ---------------------------------------------------------------------------------------------------------------------

    def _await_some(self) -> None:
        """Wait until a rank says something, has ended, or is overdue, and see to it."""
        running = tuple(self._running.values())
        if not running:
            return
        connections = [each.process.connection.fileno() for each in running if each.is_connected]
        patience = patience_s((each.watch for each in running), time.monotonic())
        ready = wait_for_any([*(each.process.fileno() for each in running), *connections], patience)
        now = time.monotonic()
        for each in running:
            if each.is_connected and each.process.connection.fileno() in ready:
                self._listen(each)
            if each.process.fileno() in ready or each.watch.overdue(now):
                self._end(each)
        self._answer()

    def _listen(self, speaker: _Running) -> None:
        """Take in everything that the rank has said up to now."""
        connection: Connection = speaker.process.connection
        try:
            while connection.poll():
                match connection.recv():
                    case ("publish", key, data):
                        self.mailbox.publish(speaker.rank, key, data)
                    case ("unknown", keys):
                        for key in keys:
                            self.mailbox.publish(speaker.rank, key, Unavailable.UNKNOWN)
                    case ("fetch", wanted):
                        self.mailbox.fetch(speaker.rank, wanted)
                        speaker.watch.pause(time.monotonic())
        except (EOFError, ConnectionResetError):
            speaker.is_connected = False

    def _answer(self) -> None:
        """Let those go on who can; see that those who are waited for are run, and that nobody waits for nothing."""
        self._reply()
        for peer in sorted(self.mailbox.awaited()):
            self._summon(peer)
        all_wait = self._running and len(self.mailbox.waiting) == len(self._running)
        if all_wait and not (self._queue and self._has_room()):
            self.mailbox.fail_pending(Unavailable.NO_MEMORY if self._queue else Unavailable.STALLED)
            self._reply()

    def _reply(self) -> None:
        for rank, answers in self.mailbox.answers():
            self._running[rank].watch.resume(time.monotonic())
            try:
                self._running[rank].process.connection.send(answers)
            except (BrokenPipeError, ConnectionResetError):  # it has just ended
                self._running[rank].is_connected = False

    def _summon(self, peer: int) -> None:
        if peer in self._running:
            return
        if peer in self._known:
            self._queue.remove(peer)
        else:
            self._known.add(peer)
        self._queue.appendleft(peer)

    # -- ending ----------------------------------------------------------------------------------------------------------------------

    def _end(self, running: _Running) -> None:
        if running.is_connected:
            self._listen(running)
        status = running.process.close()
        del self._running[running.rank]
        self.mailbox.end(running.rank)
        running.live_output.__exit__(None, None, None)
        files = self._directory.rank(running.rank)
        written = self._directory.records.read(running.rank)
        last_words = LastWords() if written is not None else self._last_words(files)
        end = RankEnd(status=status, stopped=running.watch.stopped)
        record = finished_record(self._job, running.rank, end, written, last_words)
        if record is written:
            self._on_record(record)
        else:
            self._write(record)

    def _record_unstarted(self, rank: int) -> None:
        self._directory.rank(rank).make()
        self._write(unstarted_record(self._job, rank))

    def _write(self, record: RankRecord) -> None:
        self._directory.records.write(record)
        self._on_record(record)

    def _last_words(self, files: RankFiles) -> LastWords:
        report = files.crash.read_text(errors="replace") if files.crash.exists() else ""
        return LastWords(stderr=_tail(files.stderr), crash=crash_site(report, self._job, Path.cwd()))


def _tail(log: Path) -> str:
    """The end of a log file, from the beginning of a line."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    if size > _TAIL_BYTES:
        tail = tail.partition(b"\n")[2]
    return tail.decode(errors="replace")
