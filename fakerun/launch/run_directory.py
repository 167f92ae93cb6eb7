"""The run directory: the files of one run, its job, and the record and output of each rank.

Owns their names and layout, and the rule that a run is begun in a directory of its own: nothing is overwritten, and no two runs share one.
"""

import fcntl
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from fakerun.errors import UsageError
from fakerun.files import write_whole
from fakerun.job.codec import decode_job, encode_job, job_version
from fakerun.job.spec import JobSpec
from fakerun.records.damage import read_recorded
from fakerun.records.inputs import INPUTS
from fakerun.records.journal import JOURNAL
from fakerun.records.run import RunRecord
from fakerun.records.store import RecordStore
from fakerun.records.unwritten_files import UnwrittenFiles


@dataclass(frozen=True, slots=True)
class RankFiles:
    """The files of one rank beside its record, in a directory of their own."""

    directory: Path

    @property
    def stdout(self) -> Path:
        return self.directory / "stdout.log"

    @property
    def stderr(self) -> Path:
        return self.directory / "stderr.log"

    @property
    def error(self) -> Path:
        """Where torch's `@record` decorator puts the script's exception (TORCHELASTIC_ERROR_FILE)."""
        return self.directory / "error.json"

    @property
    def crash(self) -> Path:
        """What `faulthandler` writes when native code kills the rank; empty otherwise."""
        return self.directory / "crash.txt"

    @property
    def journal(self) -> Path:
        """What the rank does, written while it does it (`records.journal`); read and removed when it has ended."""
        return self.directory / JOURNAL

    @property
    def inputs(self) -> Path:
        """What the rank read that the job does not say (`records.inputs`); empty if it ended without a record, absent if nobody asked."""
        return self.directory / INPUTS

    @property
    def full_traceback(self) -> Path:
        """The whole traceback of an exception that came through fakerun's code; absent otherwise."""
        return self.directory / "full_traceback.txt"

    def make(self) -> None:
        self.directory.mkdir(exist_ok=True)


class DirectoryLock:
    """Keeps other runs out of a directory until it is released or this process has ended, however it does. Leaves no file there."""

    def __init__(self, path: Path, *, named: Path) -> None:
        """Lock the directory `path`, which the user calls `named`.

        Raises:
            UsageError: another run has locked it.
        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise UsageError(f"run directory {named}: another run uses it; wait for its end, or pass another directory") from error
        except OSError:  # a file system without locks
            return

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1


@dataclass(frozen=True)
class RunDirectory:
    """A directory that holds one run. `open_run_directory` makes it, for the duration of a context if it is to be written."""

    path: Path
    lock: DirectoryLock | None = field(default=None, compare=False, repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self.lock is not None:
            self.lock.release()

    @property
    def job_file(self) -> Path:
        return self.path / "job.json"

    @cached_property
    def records(self) -> RecordStore:
        return RecordStore(self.path)

    @property
    def unwritten(self) -> UnwrittenFiles:
        """The files that the script believes to have written."""
        return UnwrittenFiles(self.path)

    def rank(self, rank: int) -> RankFiles:
        return RankFiles(self.records.directory(rank))

    def write_job(self, job: JobSpec) -> None:
        write_whole(self.job_file, encode_job(job))

    def read_job(self) -> JobSpec:
        """The job of the run.

        Raises:
            UsageError: it is damaged, or of another version of fakerun.
        """
        return decode_job(read_recorded(self.job_file), source=str(self.job_file))

    def read_run(self, job: JobSpec) -> RunRecord:
        """The run of the job, with all records that are there.

        Raises:
            UsageError: it is damaged, or of another version of fakerun, or has ranks that the job does not have.
        """
        run = self.records.read_run()
        for record in run.ranks:
            if record.rank >= job.world_size:
                raise UsageError(f"{self.records.record(record.rank)}: the job has only {job.world_size} ranks; run the job again")
        return run

    def discard(self) -> None:
        """Remove a temporary directory and all that is in it, when nothing in it is of interest."""
        shutil.rmtree(self.path, ignore_errors=True)


def open_run_directory(path: Path | None) -> RunDirectory:
    """The directory for a run that is about to begin: `path`, which is absent or empty, or a fresh temporary directory. It is locked.

    Raises:
        UsageError: the directory cannot be written to, is in use, or holds an earlier run or something that is not fakerun's.
    """
    try:
        if path is None:
            fresh = Path(tempfile.mkdtemp(prefix="fakerun-"))
            return RunDirectory(fresh, DirectoryLock(fresh, named=fresh))
        return _prepared(path)
    except OSError as error:
        # Without a path it is the temporary directory that cannot be made; the error knows which.
        where = path if path is not None else error.filename
        raise UsageError(f"run directory {where}: {error.strerror}; pass a writable directory to --run-dir") from error


def reopen_run_directory(path: Path) -> RunDirectory:
    """The directory of an earlier run, locked, to write what it lacks.

    Raises:
        UsageError: there is none at `path`, or another run uses it.
    """
    found = find_run_directory(path)
    return RunDirectory(found.path, DirectoryLock(found.path, named=path))


def find_run_directory(path: Path) -> RunDirectory:
    """The directory of an earlier run, to read.

    Raises:
        UsageError: there is none at `path`.
    """
    directory = RunDirectory(path.absolute())
    if not _holds_a_run(directory):
        raise UsageError(f"{path}: not a fakerun run directory; pass the directory you gave to --run-dir")
    return directory


def _holds_a_run(directory: RunDirectory) -> bool:
    return directory.job_file.is_file() and job_version(read_recorded(directory.job_file)) is not None


def _prepared(path: Path) -> RunDirectory:
    # Absolute, because the script may change the working directory while its rank still has to write here.
    path.mkdir(parents=True, exist_ok=True)
    directory = RunDirectory(path.absolute(), DirectoryLock(path, named=path))
    with ExitStack() as on_failure:
        on_failure.enter_context(directory)
        if any(path.iterdir()):
            raise UsageError(f"run directory {path}: {_why_not_empty(directory)}")
        # Reported now, and not when the first rank has run.
        with tempfile.TemporaryFile(dir=path):
            pass
        on_failure.pop_all()
    return directory


def _why_not_empty(directory: RunDirectory) -> str:
    if _holds_a_run(directory):
        return "holds an earlier run; continue that with --resume, or pass a new directory (or remove this one) to start over"
    return "contains files that are not from a fakerun run; pass a new or empty directory to --run-dir"
