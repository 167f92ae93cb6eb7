"""How the script ended: what Python would print and do about it, and the same as a `ProcessFailure`."""

import atexit
import errno
import operator
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import SupportsIndex

from fakerun.call_site import CallSite, CallSiteResolver
from fakerun.emulate.unsupported.torch_errors import gap_of
from fakerun.errors import EmulationGapError, FakerunError, UsageError
from fakerun.printable import cut
from fakerun.rank.step_limit import StepLimitReached
from fakerun.rank.tracebacks import calls_of, came_through_fakerun, chain, is_our_fault, stack_of, strip_simulation
from fakerun.records.placeholder_read import PlaceholderRead
from fakerun.records.run import Blocked, Ending, Exited, FailureKind, ProcessFailure
from fakerun.syntax.dependence import Reads, cause

_NO_READS: Reads[PlaceholderRead] = Reads()

_TIMED_OUT_STATUS = 124
"""What timeout(1) ends with."""
_INTERRUPTED_STATUS = 128 + signal.SIGINT
_FILE_LIMIT = " (a file reached the limit on the size of files: RLIMIT_FSIZE, ulimit -f)"
_MOST_OF_A_MESSAGE = 10_000
_MOST_OF_A_TRACEBACK = 100_000


@dataclass(frozen=True, slots=True)
class RunningFrame:
    """Where a thread is, and its name unless it is the main one."""

    frame: FrameType
    thread: str | None = None


def was_stopped(error: BaseException | None) -> bool:
    """Whether the simulation ended the script. What the script raised because of that is not a failure of the script."""
    return error is not None and any(isinstance(each, StepLimitReached) for each in chain(error))


def failure_of(error: BaseException | None, resolver: CallSiteResolver, reads: Reads[PlaceholderRead] = _NO_READS) -> ProcessFailure | None:
    """The failure of a script that ended with `error`; None when it ended well. `reads` are those of values that nobody computed.

    Takes the simulation's frames out of the traceback, except where they are what is wrong.
    """
    if error is None or was_stopped(error):
        return None
    if is_our_fault(error):
        return replace(internal_failure(error), call_site=_call_site(error, resolver))
    strip_simulation(error)
    ours = next((each for each in map(_as_ours, chain(error)) if each is not None), None)
    if ours is not None:
        return _failure_of_ours(ours, error, resolver)
    failure = _exit_failure(error, resolver) if isinstance(error, SystemExit) else _exception_failure(error, resolver)
    return failure and _explained(failure, error, reads)


def traceback_through_fakerun(error: BaseException | None) -> str | None:
    """The whole traceback of an exception that came through fakerun's code, for debugging fakerun."""
    if error is None or was_stopped(error) or not came_through_fakerun(error):
        return None
    return "".join(traceback.format_exception(error))


def exited(error: BaseException | None, resolver: CallSiteResolver) -> Exited | None:
    """Where a script that did not fail ended itself by `SystemExit`; None when it came to its end, or was stopped."""
    return Exited(call_site=_call_site(error, resolver)) if isinstance(error, SystemExit) and not was_stopped(error) else None


def exit_ending(status: SupportsIndex, frame: FrameType | None, resolver: CallSiteResolver) -> Ending:
    """How a script ended in which `frame` calls `os._exit(status)`."""
    if was_stopped(sys.exception()):
        return None
    code = operator.index(status) & 0xFF
    call_site = resolver.innermost(_named(stack_of(frame)))
    if code == 0:
        return Exited(call_site=call_site)
    return ProcessFailure(
        kind=FailureKind.EXIT, exception=None, message=f"exited with status {code} (os._exit)", exit_code=code, call_site=call_site
    )


def timeout_failure(timeout_s: float | None, running: Sequence[RunningFrame], resolver: CallSiteResolver) -> ProcessFailure:
    """The failure of a rank whose time limit was reached while its threads, the main one first, were there."""
    limit = "" if timeout_s is None else f" after {timeout_s:g} s"
    return _stopped_failure(FailureKind.TIMEOUT, f"timed out{limit}", running, resolver, exit_code=_TIMED_OUT_STATUS)


def interruption_failure(running: Sequence[RunningFrame], resolver: CallSiteResolver) -> ProcessFailure:
    """The failure of a rank that the user interrupted while its threads, the main one first, were there."""
    return _stopped_failure(FailureKind.INTERRUPTED, "interrupted", running, resolver, exit_code=_INTERRUPTED_STATUS)


def early_interruption() -> ProcessFailure:
    """The failure of a rank that got a SIGINT before it began to run the script."""
    return ProcessFailure(
        kind=FailureKind.INTERRUPTED, exception=None, message="interrupted before the script began", exit_code=_INTERRUPTED_STATUS
    )


def aborted_failure(error: FakerunError, frame: FrameType | None, resolver: CallSiteResolver) -> ProcessFailure:
    """The failure of a rank that `error` ended while the main thread was in `frame`."""
    return ProcessFailure(
        kind=_kind(error),
        exception=_class_name(error),
        message=_message(error),
        exit_code=int(error.exit_code),
        call_site=resolver.innermost(_named(stack_of(frame))),
    )


def blocked_in(call: int, waits_for: Sequence[int], frame: FrameType | None, resolver: CallSiteResolver) -> Blocked:
    """The end of a rank that waits for ever in its communication call of that number, the thread that waits being in `frame`."""
    stack = stack_of(frame)
    return Blocked(call=call, waits_for=tuple(waits_for), call_site=resolver.innermost(_named(stack)), stack=_formatted(stack))


def internal_failure(error: BaseException) -> ProcessFailure:
    """The failure of a rank in which fakerun itself raised `error`; its frames are kept."""
    return ProcessFailure(
        kind=FailureKind.INTERNAL,
        exception=_class_name(error),
        message=_message(error),
        traceback=_traceback(error),
        exit_code=int(error.exit_code if isinstance(error, FakerunError) else FakerunError.exit_code),
    )


def report(error: BaseException) -> None:
    """Print, on the script's stderr, what Python prints when the main program ends with `error`. A wrong question has no traceback."""
    if isinstance(error, UsageError):
        print(f"fakerun: error: {error}", file=sys.stderr)  # noqa: T201
        return
    if isinstance(error, SystemExit):
        if error.code is not None and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)  # noqa: T201 - in the script's place
        return
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except BaseException as fault:  # the script's own hook: whatever it raises, Python continues
        strip_simulation(fault)
        print("Error in sys.excepthook:", file=sys.stderr)  # noqa: T201
        sys.__excepthook__(type(fault), fault, fault.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)  # noqa: T201
        sys.__excepthook__(type(error), error, error.__traceback__)


def wait_for_threads() -> None:
    """Join the script's threads, as Python does before it ends.

    `threading._shutdown` rather than a loop of joins: only there do executors end their idle threads.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001


def run_exit_handlers() -> None:
    """Run what the script registered with `atexit`, inside the simulation; Python prints what a handler raises."""
    atexit._run_exitfuncs()  # noqa: SLF001


def _exception_failure(error: BaseException, resolver: CallSiteResolver) -> ProcessFailure:
    return ProcessFailure(
        kind=FailureKind.EXCEPTION,
        exception=_class_name(error),
        message=_message(error),
        traceback=_traceback(error),
        exit_code=_INTERRUPTED_STATUS if isinstance(error, KeyboardInterrupt) else 1,
        call_site=_call_site(error, resolver),
    )


def _explained(failure: ProcessFailure, error: BaseException, reads: Reads[PlaceholderRead]) -> ProcessFailure:
    """The failure, with the reads of values that nobody computed: one that follows from such a read is not the script's."""
    read = cause(error, reads)
    if read is None:
        sites = (each.call_site for each in reads)
        return replace(failure, placeholder_reads=tuple(dict.fromkeys(site for site in sites if site is not None)))
    return replace(
        failure,
        kind=FailureKind.GAP,
        message=f"{failure.summary_line.rstrip('.')}. It follows from a value that was made up: {read}. {read.way_round}",
        exit_code=int(EmulationGapError.exit_code),
    )


def _as_ours(error: BaseException) -> FakerunError | None:
    """The error as one of fakerun's, if it is one; torch's message for a gap is replaced."""
    if isinstance(error, FakerunError):
        return error
    if (gap := gap_of(error)) is not None:
        error.args = gap.args
        gap.__traceback__ = error.__traceback__
    return gap


def _failure_of_ours(ours: FakerunError, error: BaseException, resolver: CallSiteResolver) -> ProcessFailure:
    return ProcessFailure(
        kind=_kind(ours),
        exception=_class_name(ours),
        message=_message(ours),
        traceback="" if isinstance(ours, UsageError) else _traceback(error),
        exit_code=int(ours.exit_code),
        call_site=_call_site(ours, resolver) or _call_site(error, resolver),
    )


def _kind(ours: FakerunError) -> FailureKind:
    if isinstance(ours, UsageError):
        return FailureKind.USAGE
    return FailureKind.GAP if isinstance(ours, EmulationGapError) else FailureKind.INTERNAL


def _exit_failure(error: SystemExit, resolver: CallSiteResolver) -> ProcessFailure | None:
    status = _status(error.code)
    if status == 0:
        return None
    said = None if error.code is None or isinstance(error.code, int) else cut(_encodable(str(error.code)), _MOST_OF_A_MESSAGE)
    return ProcessFailure(
        kind=FailureKind.EXIT,
        exception=_class_name(error),
        message=said or f"exited with status {status}",
        exit_code=status,
        call_site=_call_site(error, resolver),
    )


def _status(code: object) -> int:
    """The status that the shell sees for `SystemExit(code)`."""
    if code is None:
        return 0
    if not isinstance(code, int):
        return 1
    fits_a_long = -(2**63) <= code < 2**63
    return (code if fits_a_long else -1) & 0xFF


def _stopped_failure(
    kind: FailureKind, what: str, running: Sequence[RunningFrame], resolver: CallSiteResolver, *, exit_code: int
) -> ProcessFailure:
    """Where the first of the threads is that is in the user's code."""
    stacks = [(each.thread, stack_of(each.frame)) for each in running]
    sites = [(thread, stack, resolver.innermost(_named(stack))) for thread, stack in stacks]
    thread, stack, call_site = next((each for each in sites if each[2] is not None), (None, [], None))
    where = f"at {call_site}" if call_site else "outside of the script: it was being started, or had ended"
    in_thread = f" in thread {thread!r}, which the script has left running" if thread else ""
    return ProcessFailure(
        kind=kind,
        exception=None,
        message=f"{what} {where}{in_thread}",
        traceback=_formatted(stack),
        exit_code=exit_code,
        call_site=call_site,
    )


def _formatted(stack: list[tuple[FrameType, int]]) -> str:
    lines = traceback.StackSummary.extract(iter(stack)).format()
    return _encodable("".join(["Stack (most recent call last):\n", *lines])) if lines else ""


def _call_site(error: BaseException, resolver: CallSiteResolver) -> CallSite | None:
    found = resolver.innermost(calls_of(error))
    if found is None and isinstance(error, SyntaxError) and error.filename is not None:
        return resolver.site(error.filename, error.lineno)
    return found


def _named(stack: list[tuple[FrameType, int]]) -> Iterator[tuple[str, int, str | None]]:
    return ((frame.f_code.co_filename, line, frame.f_code.co_qualname) for frame, line in stack)


def _traceback(error: BaseException) -> str:
    """As Python prints it, without the middle of a message of megabytes: the rank's stderr has all of it."""
    return _without_middle(_encodable("".join(traceback.format_exception(error))), _MOST_OF_A_TRACEBACK)


def _without_middle(text: str, most: int) -> str:
    left_out = len(text) - most
    if left_out <= 0:
        return text
    return f"{text[: most // 2]}\n... {left_out} characters left out; the rank's stderr.log has them ...\n{text[-most // 2 :]}"


def _class_name(error: BaseException) -> str:
    """As Python prints it: builtins and the script's own classes go without their module."""
    cls = type(error)
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        message = cut(_encodable(str(error)), _MOST_OF_A_MESSAGE) or type(error).__name__
        return f"{message}{_FILE_LIMIT}" if isinstance(error, OSError) and error.errno == errno.EFBIG else message
    except Exception:  # a class of the script's
        return f"<{type(error).__name__}, and its __str__ failed>"


def _encodable(text: str) -> str:
    """Text that UTF-8 can hold: names of files that are no UTF-8 come as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()
