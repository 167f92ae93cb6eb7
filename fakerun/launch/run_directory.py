"""The run directory: the files of one run, its job, and the record and output of each rank.

Owns their names and layout, and the rule of what may be overwritten: the files of an earlier run, and nothing else.
"""

import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fakerun.errors import UsageError
from fakerun.files import write_whole
from fakerun.job.codec import decode_job, encode_job, job_version
from fakerun.job.spec import JobSpec
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
    def full_traceback(self) -> Path:
        """The whole traceback of an exception that came through fakerun's code; absent otherwise."""
        return self.directory / "full_traceback.txt"

    def make(self) -> None:
        self.directory.mkdir(exist_ok=True)

    def remove(self) -> None:
        """Remove the files of an earlier run; what else lies there stays."""
        records = (*self.directory.glob("record.json.gz"), *self.directory.glob(".record.json.gz.*.tmp"))  # the latter of a killed rank
        for path in (*records, self.stdout, self.stderr, self.error, self.crash, self.full_traceback):
            path.unlink(missing_ok=True)
        if not any(self.directory.iterdir()):
            self.directory.rmdir()


@dataclass(frozen=True)
class RunDirectory:
    """A directory that holds one run. `open_run_directory` makes it."""

    path: Path

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
        return decode_job(self.job_file.read_bytes(), source=str(self.job_file))

    def discard(self) -> None:
        """Remove a temporary directory and all that is in it, when nothing in it is of interest."""
        shutil.rmtree(self.path, ignore_errors=True)


def open_run_directory(path: Path | None) -> RunDirectory:
    """The directory for a run that is about to begin: `path`, or a fresh temporary directory.

    `path` may be absent, empty, or hold an earlier run, whose files are removed. Opening the same path twice is harmless.

    Raises:
        UsageError: the directory cannot be written to, or holds something that is not fakerun's.
    """
    try:
        if path is None:
            return RunDirectory(Path(tempfile.mkdtemp(prefix="fakerun-")))
        return _prepared(path)
    except OSError as error:
        # Without a path it is the temporary directory that cannot be made; the error knows which.
        where = path if path is not None else error.filename
        raise UsageError(f"run directory {where}: {error.strerror}; pass a writable directory to --run-dir") from error


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
    return directory.job_file.is_file() and job_version(directory.job_file.read_bytes()) is not None


def _prepared(path: Path) -> RunDirectory:
    # Absolute, because the script may change the working directory while its rank still has to write here.
    directory = RunDirectory(path.absolute())
    path.mkdir(parents=True, exist_ok=True)
    if any(path.iterdir()):
        _remove_earlier_run(directory, named=path)
    # Reported now, and not when the first rank has run.
    with tempfile.TemporaryFile(dir=path):
        pass
    return directory


def _remove_earlier_run(directory: RunDirectory, *, named: Path) -> None:
    if not _holds_a_run(directory):
        raise UsageError(
            f"run directory {named}: contains files that are not from a fakerun run; pass a new or empty directory to --run-dir"
        )
    directory.records.run.unlink(missing_ok=True)
    directory.records.remove_shared()
    directory.unwritten.discard()
    for rank_directory in sorted(directory.path.glob("rank-[0-9][0-9][0-9][0-9][0-9]")):
        if rank_directory.is_dir():
            RankFiles(rank_directory).remove()
