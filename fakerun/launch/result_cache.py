"""Runs that are kept for the next time: a job whose inputs are the same is not simulated again.

    .fakerun/cache/<job>/run/            the run directory
    .fakerun/cache/<job>/inputs.json     what the run depends on, written last
    .fakerun/cache/<job>/result.json     what the analyses found when it was last held against something, and a digest of that

A run depends on the job, on the versions of fakerun, Python and all installed packages, on the files and directories that a rank read,
and on variables: those that a rank asked for, and those that are read while torch loads. What it was held against is no part of it, but of
its result, which depends on both.
"""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fakerun
from fakerun.errors import UsageError
from fakerun.files import write_whole
from fakerun.job.check_file import file_name
from fakerun.job.codec import encode_job
from fakerun.job.spec import JobSpec
from fakerun.launch.environment import is_read_at_load
from fakerun.launch.run_directory import RunDirectory, find_run_directory
from fakerun.records.inputs import RankInputs
from fakerun.records.run import RunRecord

_VERSION = 1
_NEW = ".new-"
_UNUSED_S, _LEFT_BEHIND_S = 30 * 86_400, 86_400
"""After which a run is removed that was not found again, as of a job that has another name now; and what an interrupted move has left."""
_OF_THE_DIRECTORY = {".gitignore": b"*\n", "CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55\n"}
"""Files that tell git and backups what the directory is (bford.info/cachedir)."""
_CHUNK_BYTES = 1 << 20
_OF_THE_SHELL = frozenset({"_", "SHLVL", "PWD", "OLDPWD", "COLUMNS", "LINES"})
"""Variables that differ from command to command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRun:
    """A run that is kept: the job, and the directory that it is in. `inputs` is a digest of all that it depends on."""

    job: JobSpec
    directory: RunDirectory
    inputs: str

    def read(self) -> RunRecord | None:
        """Its record; None if it is damaged."""
        try:
            return self.directory.read_run(self.job)
        except UsageError:
            return None

    def result(self, held_against: str) -> bytes | None:
        """What was kept as its result when it was held against the same; None if nothing was."""
        try:
            digest, _, result = self._result_file.read_bytes().partition(b"\n")
        except OSError:
            return None
        return result if digest.decode(errors="replace") == self._digest(held_against) else None

    def keep_result(self, held_against: str, result: bytes) -> None:
        """Keep its result, in the place of another one.

        Raises:
            OSError: it cannot be written.
        """
        write_whole(self._result_file, f"{self._digest(held_against)}\n".encode() + result)

    def _digest(self, held_against: str) -> str:
        return hashlib.sha256(f"{self.inputs}\0{held_against}".encode(errors="surrogatepass")).hexdigest()

    @property
    def _result_file(self) -> Path:
        return self.directory.path.parent / "result.json"


class ResultCache:
    """The runs that are kept in `directory`, one for each name of a job."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, name: str, job: JobSpec) -> KeptRun | None:
        """The run of this job that is kept, if it would be the same now."""
        manifest = self._manifest(name)
        if manifest is None or manifest.get("job") != _text_of(job) or manifest.get("versions") != _versions() or _has_changed(manifest):
            return None
        try:
            directory = find_run_directory(self._entry(name) / "run")
        except UsageError:  # damaged
            return None
        with suppress(OSError):
            os.utime(self._entry(name))
        return KeptRun(job=job, directory=directory, inputs=_digest_of_inputs(manifest))

    def newest(self, name: str) -> RunDirectory | None:
        """The directory of the run that is kept of this job, whatever changed since; None without one."""
        try:
            return find_run_directory(self._entry(name) / "run")
        except UsageError:
            return None

    def seconds(self, name: str) -> float | None:
        """How long the job took when it was last simulated; None if nobody knows."""
        seconds = (self._manifest(name) or {}).get("seconds")
        return float(seconds) if isinstance(seconds, int | float) else None

    def files(self, name: str) -> frozenset[Path] | None:
        """The files and directories that the job read when it was last simulated; None if nobody knows."""
        manifest = self._manifest(name)
        return None if manifest is None else frozenset(map(Path, (*manifest["files"], *manifest["directories"])))

    def keep(self, name: str, job: JobSpec, directory: RunDirectory, run: RunRecord, *, began: float, seconds: float) -> KeptRun:
        """Move a run into the cache; `began` is the time when it began.

        Raises:
            NotKeptError: it may be another one the next time; the message says why.
            OSError: it cannot be written.
        """
        inputs = _inputs_of(run, directory)
        own = os.path.join(directory.path.resolve(), "")  # noqa: PTH118
        read, listed = (sorted({each for each in paths if not each.startswith(own)}) for paths in (inputs.files, inputs.directories))
        files = {path: _file_state(path) for path in read}
        if (late := next((path for path, state in files.items() if state is None or state["mtime_ns"] > began * 1e9), None)) is not None:
            raise NotKeptError(f"{late} changed during the run")
        manifest = {
            "version": _VERSION,
            "job": _text_of(job),
            "versions": _versions(),
            "seconds": seconds,
            "files": files,
            "directories": {path: _listing(path) for path in listed},
            "variables": _variables(inputs.variables),
        }
        return KeptRun(job=job, directory=self._put(name, manifest, directory), inputs=_digest_of_inputs(manifest))

    def _put(self, name: str, manifest: Mapping[str, Any], directory: RunDirectory) -> RunDirectory:
        self._prepare()
        entry = self._entry(name)
        with tempfile.TemporaryDirectory(prefix=_NEW, dir=self._directory) as new:
            shutil.move(directory.path, Path(new) / "run")
            shutil.rmtree(entry, ignore_errors=True)
            entry.mkdir()
            (Path(new) / "run").rename(entry / "run")
        write_whole(entry / "inputs.json", json.dumps(manifest, indent=1).encode(errors="surrogateescape"))
        return RunDirectory(entry / "run")

    def _prepare(self) -> None:
        """Make the directory, as one that git and backups leave out, and remove what nobody has used for long."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for name, content in _OF_THE_DIRECTORY.items():
            if not (self._directory / name).exists():
                write_whole(self._directory / name, content)
        for each in self._directory.iterdir():
            kept_s = _LEFT_BEHIND_S if each.name.startswith(_NEW) else _UNUSED_S
            if each.is_dir() and not each.is_symlink() and time.time() - each.stat().st_mtime > kept_s:
                shutil.rmtree(each, ignore_errors=True)

    def _entry(self, name: str) -> Path:
        return self._directory / file_name(name)

    def _manifest(self, name: str) -> dict[str, Any] | None:
        try:
            manifest = json.loads((self._entry(name) / "inputs.json").read_bytes())
        except (OSError, ValueError):
            return None
        return manifest if isinstance(manifest, dict) and manifest.get("version") == _VERSION else None


class NotKeptError(Exception):
    """A run is not kept; the message says why."""


def _inputs_of(run: RunRecord, directory: RunDirectory) -> RankInputs:
    """What the ranks read together."""
    if not run.is_complete:
        raise NotKeptError("the run is not complete")
    found = []
    for record in run.ranks:
        if record.failure is not None:
            raise NotKeptError(f"rank {record.rank} failed")
        try:
            inputs = RankInputs.of_json(json.loads(directory.rank(record.rank).inputs.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotKeptError(f"it is not known what rank {record.rank} read") from error
        if inputs.unseen:
            raise NotKeptError(inputs.unseen)
        found.append(inputs)
    return RankInputs(
        files=tuple(path for each in found for path in each.files),
        directories=tuple(path for each in found for path in each.directories),
        variables=tuple(name for each in found for name in each.variables),
    )


def _has_changed(manifest: Mapping[str, Any]) -> bool:
    return (
        any(not _is_same_file(path, state) for path, state in manifest["files"].items())
        or any(_listing(path) != listing for path, listing in manifest["directories"].items())
        or manifest["variables"] != _variables(manifest["variables"])
    )


def _digest_of_inputs(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _is_same_file(path: str, state: Mapping[str, Any]) -> bool:
    """By size and time of the last change, which cost nothing to compare; where these differ, by content."""
    try:
        now = Path(path).stat()
    except OSError:
        return False
    if now.st_size != state["size"]:
        return False
    return bool(now.st_mtime_ns == state["mtime_ns"] or _digest_of(path) == state["sha256"])


def _file_state(path: str) -> dict[str, Any] | None:
    try:
        now = Path(path).stat()
        return {"size": now.st_size, "mtime_ns": now.st_mtime_ns, "sha256": _digest_of(path)}
    except OSError:
        return None


def _digest_of(path: str | Path) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _listing(path: str) -> str | None:
    """The names in a directory, in short; None without one."""
    try:
        return hashlib.sha256("\0".join(sorted(os.listdir(path))).encode(errors="surrogateescape")).hexdigest()  # noqa: PTH208
    except OSError:
        return None


def _variables(names: Iterable[str]) -> dict[str, str | None]:
    """The values of the variables, and of those that are read while torch loads; None for one that is not set."""
    wanted = {*names, *filter(is_read_at_load, os.environ)} - _OF_THE_SHELL
    return {name: os.environ.get(name) for name in sorted(wanted)}


def _text_of(job: JobSpec) -> str:
    return encode_job(job.without_limits()).decode()


@cache
def _versions() -> dict[str, str]:
    """Of fakerun, as its files are; of Python; and of all that is installed: the names of their metadata have the versions."""
    package = Path(fakerun.__file__).parent
    own = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            own.update(f"{file.relative_to(package)} {_digest_of(file)}\n".encode())
    installed = sorted({name for path in sys.path for name in _names_in(path) if name.endswith((".dist-info", ".egg-info"))})
    return {
        "fakerun": own.hexdigest(),
        "python": sys.version,
        "installed": hashlib.sha256("\n".join(installed).encode(errors="surrogateescape")).hexdigest(),
    }


def _names_in(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208
    except OSError:
        return []
