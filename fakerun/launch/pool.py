"""RankPool: runs the ranks of several jobs, some at a time, each in a process of its own, and passes on the values that they exchange."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any

from fakerun.errors import HostMemoryError
from fakerun.launch.host_memory import available_bytes
from fakerun.launch.interrupts import Interrupts
from fakerun.launch.job_run import JobRun, RunningRank
from fakerun.launch.live_output import LiveOutput
from fakerun.launch.position_watch import PositionWatch
from fakerun.launch.server import RankServer, ServerDiedError
from fakerun.launch.supervision import Supervision, until_next_deadline
from fakerun.records.mailbox import Unavailable
from fakerun.units import GIB, format_bytes

RANK_BYTES = GIB // 2
"""Host memory that a rank of a large model takes: 0.4 GB measured for 70B parameters, much of it shared with other ranks."""


class RankPool:
    """Runs ranks on one server, `working` at a time. A rank that fails does not stop the others: which ranks fail is part of the answer.

    A rank that waits for another one does not work, and does not count: a group of any size can meet. Memory only delays ranks, it does
    not change what they are told: if there is none for a rank that all others wait for, the run ends without a verdict.

    The user's Ctrl-C stops all of them; a second one kills them without waiting for the scripts to clean up. A rank that another one waits
    for runs next, even if it was not to be simulated. A job's ranks start before those of the jobs after it.
    """

    def __init__(self, server: RankServer, *, working: int, show_output: bool) -> None:
        self._server = server
        self._most_working = working
        self._show_output = show_output
        self._runs: Sequence[JobRun] = ()
        self._is_interrupted = False

    def run(self, runs: Sequence[JobRun]) -> None:
        """Run the jobs until each is done, or the user has interrupted them.

        Raises:
            HostMemoryError: there is no memory for a rank that all the others wait for.
        """
        self._runs = runs
        with Interrupts() as interrupts, self._ended_on_error():
            while True:
                self._start_ranks(interrupts)
                self._handle_interrupts(interrupts)
                if not self._count_running():
                    return
                self._wait(interrupts)

    @contextmanager
    def _ended_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            for _, each in self._running():
                each.process.close()
                each.live_output.__exit__(None, None, None)
            raise

    # -- starting --------------------------------------------------------------------------------------------------------------------

    def _start_ranks(self, interrupts: Interrupts) -> None:
        for run in self._runs:
            if not interrupts.count:
                run.refill()
            if run.queue and self._has_room() and not interrupts.count:
                self._server.prepare(map(run.environment, islice(run.queue, self._most_working)))
            while run.queue and self._has_room() and not interrupts.count:
                self._start(run, run.queue[0], interrupts)
                if not run.running:
                    run.refill()

    def _has_room(self) -> bool:
        """Whether one more rank may work now.

        Raises:
            HostMemoryError: it may not, and no other rank would ever make room for it.
        """
        working = self._count_working()
        if working >= self._most_working:
            return False
        if not (waiting := self._count_running() - working) or (available := available_bytes()) >= RANK_BYTES:
            return True
        if working:
            return False
        raise HostMemoryError(
            f"this machine has {format_bytes(available)} of memory left, and a rank may need {format_bytes(RANK_BYTES)}: "
            f"{waiting} rank{'s wait' if waiting > 1 else ' waits'} for values of ranks that cannot be started. "
            "Free memory, use a larger machine, or simulate fewer ranks (--ranks auto, or a list)."
        )

    def _count_running(self) -> int:
        return sum(len(run.running) for run in self._runs)

    def _count_working(self) -> int:
        return self._count_running() - sum(len(run.mailbox.waiting) for run in self._runs)

    def _start(self, run: JobRun, rank: int, interrupts: Interrupts) -> None:
        task = run.task(rank)
        try:
            process = self._server.fork(task, interrupts.fileno())
        except ServerDiedError as death:
            run.could_not_start(rank, death.status, death.log)
            return
        if process is None:
            return
        logs = (task.files.stdout, task.files.stderr)
        live_output = LiveOutput(logs, sys.stderr, prefix=f"[rank{rank}]: ") if self._show_output else nullcontext()
        live_output.__enter__()
        timeout_s = run.job.timeout_s
        now = time.monotonic()
        supervision = Supervision(process=process, deadline=None if timeout_s is None else now + timeout_s)
        watch = PositionWatch(now, interval_s=run.watcher.position_interval_s)
        run.started(RunningRank(rank=rank, process=process, supervision=supervision, live_output=live_output, watch=watch))

    # -- waiting ---------------------------------------------------------------------------------------------------------------------

    def _running(self) -> Iterator[tuple[JobRun, RunningRank]]:
        return ((run, running) for run in self._runs for running in tuple(run.running.values()))

    def _wait(self, interrupts: Interrupts) -> None:
        """Wait until a rank sends a message, has ended or has to be stopped, or there is a Ctrl-C; handle what ranks did."""
        running = tuple(self._running())
        processes = [each.process.fileno() for _, each in running]
        connections = [each.process.connection.fileno() for _, each in running if each.is_connected]
        due_at = (each.watch.due_at for _, each in running)
        timeout_s = until_next_deadline((each.supervision for _, each in running), due_at, time.monotonic())
        ready = wait_for_any([interrupts.fileno(), *processes, *connections], timeout_s)
        now = time.monotonic()
        for run, each in running:
            if each.is_connected and each.process.connection.fileno() in ready:
                _receive(run, each)
            if each.process.fileno() in ready or each.supervision.is_over(now):
                _end(run, each)
            else:
                _follow(run, each, now)
        for run in self._runs:
            self._unblock(run)

    def _handle_interrupts(self, interrupts: Interrupts) -> None:
        interrupts.clear()
        for run, each in self._running():
            if interrupts.count > 1:
                _end(run, each)
            elif interrupts.count and not self._is_interrupted:
                each.supervision.interrupt(time.monotonic())
        self._is_interrupted = bool(interrupts.count)
        if self._is_interrupted:
            for run in self._runs:
                run.mailbox.give_up()

    def _unblock(self, run: JobRun) -> None:
        """Answer the ranks that can be answered; see that those they wait for run, and that no rank waits in vain."""
        _reply(run)
        for peer in sorted(run.mailbox.awaited()):
            run.queue_first(peer)
        if not run.running or len(run.mailbox.waiting) < len(run.running):
            return
        if not run.queue:
            run.mailbox.give_up()
        _reply(run)


def _receive(run: JobRun, sender: RunningRank) -> None:
    """Take in all messages that the rank has sent up to now."""
    connection: Connection = sender.process.connection
    try:
        while connection.poll():
            match connection.recv():
                case ("publish", key, data):
                    run.mailbox.publish(sender.rank, key, data)
                case ("unknown", keys):
                    for key in keys:
                        run.mailbox.publish(sender.rank, key, Unavailable.UNKNOWN)
                case ("position", position):
                    sender.watch.heard(position, time.monotonic())
                    run.watcher.at(sender.rank, position)
                case ("fetch", wanted):
                    run.mailbox.fetch(sender.rank, wanted)
                    sender.supervision.pause(time.monotonic())
                case ("wait", wanted):
                    run.mailbox.wait(sender.rank, wanted)
                    sender.supervision.pause(time.monotonic())
    except (EOFError, ConnectionResetError):
        sender.is_connected = False


def _follow(run: JobRun, running: RunningRank, now: float) -> None:
    """Ask a rank where it is, at times, and tell the watcher if there is no news of it. One that waits for others is not asked."""
    if running.rank in run.mailbox.waiting:
        running.watch.restart(now)
    if not running.watch.is_due(now) or not running.is_connected:
        return
    if (seconds := running.watch.silent_s(now)) is not None:
        run.watcher.silent(running.rank, running.watch.position, seconds)
    if running.watch.may_ask():
        running.process.ask_position()


def _reply(run: JobRun) -> None:
    for rank, answers in run.mailbox.answers():
        run.running[rank].supervision.resume(time.monotonic())
        try:
            run.running[rank].process.connection.send(answers)
        except (BrokenPipeError, ConnectionResetError):  # it has just ended
            run.running[rank].is_connected = False


def _end(run: JobRun, running: RunningRank) -> None:
    if running.is_connected:
        _receive(run, running)
    status = running.process.close()
    running.live_output.__exit__(None, None, None)
    run.ended(running.rank, status)
