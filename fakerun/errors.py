"""The FakerunError tree and the exit codes of the command.

Every error that a user can cause is a `FakerunError` whose message names the input, the reason and the way out. Anything else
that escapes is a fault of fakerun's own.
"""

from enum import IntEnum
from typing import TypeVar

Error = TypeVar("Error", bound=Exception)

_SCRIPTS_OWN = "_fakerun_scripts_own"


class ExitCode(IntEnum):
    """What the `fakerun` process ends with."""

    OK = 0
    FINDINGS = 1
    """The run is complete and at least one finding has severity error (does not fit, mismatch, budget, drift)."""
    USAGE = 2
    """The command line or the job file is wrong; nothing was run."""
    SCRIPT_FAILED = 3
    """The script failed on some rank."""
    INTERNAL = 4
    """A fault of fakerun's own, or an emulation it lacks."""
    INTERRUPTED = 130


class FakerunError(Exception):
    """Base of all errors that fakerun raises on purpose."""

    exit_code = ExitCode.INTERNAL


class UsageError(FakerunError):
    """Bad input: command line, job file, hardware name, run directory."""

    exit_code = ExitCode.USAGE


class EmulationGapError(FakerunError):
    """The script needs an emulation that fakerun lacks. The message names the torch API and a way round."""

    exit_code = ExitCode.INTERNAL


def scripts_own(error: Error) -> Error:
    """Label an error that fakerun raises because a real run raises it too: the script has failed, and fakerun has not.

    Without the label an error that comes out of fakerun's code is taken for a fault of fakerun's.
    """
    setattr(error, _SCRIPTS_OWN, True)
    return error


def is_scripts_own(error: BaseException) -> bool:
    """Whether the error has that label."""
    return hasattr(error, _SCRIPTS_OWN)
