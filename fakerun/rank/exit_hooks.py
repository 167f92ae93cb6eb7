"""Exit hooks: what records a rank that does not reach the end of its script: `os._exit`, a request on the control pipe, a crash."""

import _thread
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from fakerun.call_site import CallSiteResolver
from fakerun.errors import FakerunError
from fakerun.patching import Patches
from fakerun.rank.mailbox import ConnectedMailbox
from fakerun.rank.recorder import Recorder, undisturbed
from fakerun.rank.script_outcome import (
    RunningFrame,
    aborted_failure,
    blocked_in,
    exit_ending,
    interruption_failure,
    timeout_failure,
)
from fakerun.records.position import POSITION_REQUEST
from fakerun.records.run import FailureKind

exit_now = os._exit
"""Python's own `os._exit`, whatever is put in its place."""


@contextmanager
def os_exit_recorded(recorder: Recorder, resolver: CallSiteResolver) -> Iterator[None]:
    """Within this context a script that ends with `os._exit`, as many do after training, leaves its record first.

    A child that the script forked, such as a worker of a DataLoader, ends with `os._exit` too, and is not recorded.
    """

    def _exit(status: int) -> NoReturn:
        if recorder.in_own_process:
            recorder.write(exit_ending(status, sys._getframe(1), resolver))  # noqa: SLF001
        exit_now(status)

    with Patches() as patches:
        patches.set(os, "_exit", _exit)
        yield


def follow_launcher(
    control: int, recorder: Recorder, mailbox: ConnectedMailbox, *, timeout_s: float | None, resolver: CallSiteResolver
) -> None:
    """Follow, in a thread, the requests on the control pipe: to say where the rank is; to write the record and end the process.

    A thread and a pipe rather than a signal: every signal may be the script's own (schedulers' SIGTERM and SIGUSR1, submitit's SIGUSR2,
    alarms), and a handler runs only when the main thread gets back to Python, which one that waits in native code for a peer
    never does. The thread is not one of `threading`'s, so the script does not meet it in `threading.enumerate()`.
    """
    os.set_inheritable(control, False)
    main_thread = threading.get_ident()

    def follow() -> None:
        for request in _requests(control):
            if request == POSITION_REQUEST:
                with suppress(Exception):  # later requests must be followed
                    mailbox.send_position(recorder.position(resolver.innermost(calls_of_thread(main_thread))))
                continue
            running = _running_frames(main_thread)
            if request == FailureKind.TIMEOUT:
                recorder.write(timeout_failure(timeout_s, running, resolver))
            else:
                recorder.write(interruption_failure(running, resolver))
            exit_now(0)
        _end_with_launcher()
        exit_now(0)

    _thread.start_new_thread(follow, ())


def _requests(control: int) -> Iterator[str]:
    """The lines that come through the pipe, until it ends."""
    begun = b""
    while data := os.read(control, 256):
        *lines, begun = (begun + data).split(b"\n")
        yield from (line.decode() for line in lines)


def abort_of(recorder: Recorder, resolver: CallSiteResolver) -> Callable[[FakerunError], None]:
    """A function that ends this rank from any thread, with an error of ours as the failure of the main thread."""
    main_thread = threading.get_ident()

    def abort(error: FakerunError) -> None:
        recorder.write(aborted_failure(error, sys._current_frames().get(main_thread), resolver))  # noqa: SLF001
        exit_now(0)

    return abort


def calls_of_thread(thread: int) -> list[tuple[str, int, str]]:
    """File name, line and function of each call that a thread is in, outermost first.

    Holds no frame when it returns, and none while the thread may run: a frame keeps the tensors of its variables, which would be freed
    later than in a run that nobody asks for its position.
    """
    with undisturbed():
        innermost = sys._current_frames().get(thread)  # noqa: SLF001
        if innermost is None:
            return []
        calls = [(frame.f_code.co_filename, line, frame.f_code.co_qualname) for frame, line in traceback.walk_stack(innermost)]
    return calls[::-1]


def _running_frames(main_thread: int) -> tuple[RunningFrame, ...]:
    """What the main thread is doing, and then the threads for which Python waits when the script has ended."""
    frames = sys._current_frames()  # noqa: SLF001
    waited_for = {thread.ident: thread.name for thread in threading.enumerate() if not thread.daemon and thread.ident != main_thread}
    others = (RunningFrame(frames[ident], name) for ident, name in waited_for.items() if ident in frames)
    return (RunningFrame(frames[main_thread]), *others)


def end_blocked(recorder: Recorder, resolver: CallSiteResolver, call: int, waits_for: Sequence[int]) -> NoReturn:
    """Write the record of this rank, which waits for ever in that call for these ranks, and end the process.

    Not by an exception: a rank that hangs runs no handler of the script's, and native code (DDP's reducer) makes other errors of it.
    """
    recorder.write(blocked_in(call, waits_for, sys._getframe(1), resolver))  # noqa: SLF001
    exit_now(0)


def _end_with_launcher() -> None:
    """End this rank and its children: the launcher, which would have ended them, is gone."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)


def keep_crash_report(path: Path) -> None:
    """Have Python write to `path` where it is when native code kills the process; a script that asks for that itself gets its own."""
    if not faulthandler.is_enabled():
        # Open for as long as the process lives: at the crash it is too late.
        faulthandler.enable(path.open("wb"), all_threads=False)


def exit_after(seconds: float) -> None:
    """End the process after that time, whatever it is doing then."""
    timer = threading.Timer(seconds, exit_now, args=(0,))
    timer.daemon = True
    timer.start()
