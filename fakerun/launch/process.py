"""One rank's process: starting it, waiting for it, asking it to stop, and leaving nothing of it behind.

The protocol with `fakerun.rank`: the job file, the rank, the rank's directory and the number of the control pipe on its command
line. It leaves `record.json.gz` in the directory; `RankFiles` names what else. One word on the pipe (a `StopReason`, as `FailureKind`
spells it) asks it to write its record and end; the end of the pipe means that fakerun is gone. What the record says is none of this
module's business.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeAlias

from fakerun.launch.run_directory import RankFiles
from fakerun.records.run import FailureKind

_LONGEST_PAUSE_S = 0.02


StopReason: TypeAlias = Literal[FailureKind.TIMEOUT, FailureKind.INTERRUPTED]
"""Why fakerun asks a rank to stop."""


class RankProcess:
    """A running rank, in a session of its own: the terminal's Ctrl-C does not reach it, and its whole group can be killed.

    Its output goes straight to files. A pipe would be one more thing that a slow terminal, or a grandchild that holds on to
    it, could block.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", control: int) -> None:
        self._process = process
        self._control = control

    @classmethod
    def start(cls, job_file: Path, rank: int, files: RankFiles, environment: Mapping[str, str]) -> Self:
        ours, theirs = _control_pipe()
        # -P: the working directory must not shadow what fakerun imports; the rank then sets sys.path as Python would for the script.
        # -u: as torchrun starts its workers, and what makes the output live.
        command = [sys.executable, "-P", "-u", "-m", "fakerun.rank", str(job_file), str(rank), str(files.directory), str(theirs)]
        try:
            with files.stdout.open("wb") as stdout, files.stderr.open("wb") as stderr:
                process = subprocess.Popen(
                    command,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    pass_fds=(theirs,),
                    start_new_session=True,
                )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return cls(process, ours)

    def wait(self, timeout_s: float | None) -> bool:
        """Wait for the end; False if it has not come in time.

        The process stays unreaped, so that its id still names its group when `close` kills what is left of it.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        pause_s = 0.001
        while os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return True

    def ask(self, reason: StopReason) -> None:
        """Ask the rank to write its record, whatever the script is doing, and end."""
        with suppress(BrokenPipeError):  # it has just ended
            os.write(self._control, reason.encode())

    def interrupt(self) -> None:
        """Give the script the KeyboardInterrupt that it would get in a terminal."""
        os.kill(self._process.pid, signal.SIGINT)

    def close(self) -> int:
        """Kill what is left of the rank and its children; the rank's status, negative for a signal."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(OSError):
            os.close(self._control)
        return self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self._process.returncode is None:
            self.close()


def _control_pipe() -> tuple[int, int]:
    """Our end and the rank's end. Only the rank inherits its end; ours stays with us, so that it closes when we die."""
    theirs, ours = os.pipe()
    return ours, theirs
