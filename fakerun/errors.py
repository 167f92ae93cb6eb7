"""The FakerunError tree and the exit codes of the command.

Every error that a user can cause is a `FakerunError` whose message names the input, the reason and the way out. Anything else
that escapes is an internal error of fakerun.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import TypeVar

Error = TypeVar("Error", bound=Exception)

_SCRIPT_ERROR = "_fakerun_script_error"


class ExitCode(IntEnum):
    """What the `fakerun` process ends with."""

    OK = 0
    FINDINGS = 1
    """The run is complete and at least one finding has severity error (does not fit, mismatch, budget, drift)."""
    USAGE = 2
    """The command line, the job file or this machine (a full disk) is wrong; there is no verdict."""
    SCRIPT_FAILED = 3
    """The script failed on some rank."""
    INTERNAL = 4
    """An internal error of fakerun, or an emulation that it lacks."""
    INTERRUPTED = 130


_WORST_FIRST = (
    ExitCode.INTERRUPTED,
    ExitCode.INTERNAL,
    ExitCode.USAGE,
    ExitCode.SCRIPT_FAILED,
    ExitCode.FINDINGS,
    ExitCode.OK,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Of several exit codes the one that the process ends with; OK for none."""
    return min(codes, key=_WORST_FIRST.index, default=ExitCode.OK)


class FakerunError(Exception):
    """Base of all errors that fakerun raises on purpose."""

    exit_code = ExitCode.INTERNAL


class UsageError(FakerunError):
    """Bad input: command line, job file, hardware name, run directory."""

    exit_code = ExitCode.USAGE


class OutputError(FakerunError):
    """What is to be written cannot be: a full disk, a closed stdout, a limit on the size of files."""

    exit_code = ExitCode.USAGE

    @classmethod
    def of(cls, error: OSError, what: str, way_out: str) -> "OutputError":
        """`what` could not be written because of `error`."""
        return cls(f"{what}: {error.strerror or error}; {way_out}")


class InterruptedRunError(FakerunError):
    """The user interrupted the command where it had nothing to report."""

    exit_code = ExitCode.INTERRUPTED


class EmulationGapError(FakerunError):
    """The script needs an emulation that fakerun lacks. The message names the torch API and a workaround."""

    exit_code = ExitCode.INTERNAL


class HostMemoryError(FakerunError):
    """This machine has no memory for a rank that others wait for."""

    exit_code = ExitCode.INTERNAL


def as_script_error(error: Error) -> Error:
    """Label an error that fakerun raises because a real run raises it too: the script fails, not fakerun.

    An error from fakerun's code without the label is reported as an internal error of fakerun.
    """
    setattr(error, _SCRIPT_ERROR, True)
    return error


def is_script_error(error: BaseException) -> bool:
    """Whether the error has that label."""
    return hasattr(error, _SCRIPT_ERROR)
