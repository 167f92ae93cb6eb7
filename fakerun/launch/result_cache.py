"""Runs that are kept for the next time: a job whose inputs are the same is not simulated again.

    .fakerun/cache/<job>/run/            the run directory
    .fakerun/cache/<job>/inputs.json     what the run depends on, written last
    .fakerun/cache/<job>/result.json     what the analyses found when it was last held against something, and a digest of that

A run depends on the job, on the versions of fakerun, Python and all installed packages, on the files and directories that a rank read or
looked for, also in vain, and on variables: those that a rank asked for, and those that are read while torch loads. What it was held against
is no part of it, but of its result, which depends on both. What the run itself made does not count.
"""

import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
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

_VERSION = 2
_NEW = ".new-"
_UNUSED_S, _LEFT_BEHIND_S = 30 * 86_400, 86_400
"""After which a run is removed that was not found again, as of a job that has another name now; and what an interrupted move has left."""
_OF_THE_DIRECTORY = {".gitignore": b"*\n", "CACHEDIR.TAG": b"Signature: 8a477f597d28d172789f06886806bc55\n"}
"""Files that tell git and backups what the directory is (bford.info/cachedir)."""
_CHUNK_BYTES = 1 << 20
_SMALL_BYTES = 16 << 20
"""Up to which a file that a rank looked for is compared by content: native code may have read it. Of a larger one the size counts."""
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

    def depends_on(self, name: str, changed: frozenset[Path]) -> bool | None:
        """Whether the job read or looked for one of these, or listed a directory that has one, when it was last simulated; None if nobody
        knows. Of a directory among them, as git names a submodule, all that is below it has changed.
        """
        if (manifest := self._manifest(name)) is None:
            return None
        asked_for = (Path(path).resolve() for path in (*manifest["files"], *manifest["looked_for"]))
        if any(not changed.isdisjoint((path, *path.parents)) for path in asked_for):
            return True
        within = {path.parent for path in changed}
        listed = (Path(path).resolve() for path in manifest["directories"])
        return any(path in within or not changed.isdisjoint((path, *path.parents)) for path in listed)

    def keep(self, name: str, job: JobSpec, directory: RunDirectory, run: RunRecord, *, began: float, seconds: float) -> KeptRun:
        """Move a run into the cache; `began` is the time when it began.

        Raises:
            NotKeptError: it may be another one the next time; the message says why.
            OSError: it cannot be written.
        """
        inputs = _inputs_of(run, directory)
        own = os.path.join(directory.path.resolve(), "")  # noqa: PTH118
        read, listed = (sorted({each for each in paths if not each.startswith(own)}) for paths in (inputs.files, inputs.directories))
        looked_for = [path for path in _not_made(inputs) if not path.startswith(own) and path not in read]
        small = [path for path in looked_for if _is_small_file(path)]
        files = {path: _file_state(path) for path in (*read, *small)}
        if (late := next((path for path, state in files.items() if state is None or _changed_at(state) > began * 1e9), None)) is not None:
            raise NotKeptError(f"{late} changed during the run")
        manifest = {
            "version": _VERSION,
            "job": _text_of(job),
            "versions": _versions(),
            "seconds": seconds,
            "files": files,
            "directories": {path: _listing(path) for path in listed},
            "looked_for": {path: _kind_of(path) for path in looked_for},
            "variables": _variables(inputs.variables),
            "names_of_variables": _names_of_variables() if inputs.lists_variables else None,
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
        looked_for=tuple(path for each in found for path in each.looked_for),
        made=tuple(path for each in found for path in each.made),
        lists_variables=any(each.lists_variables for each in found),
        variables=tuple(name for each in found for name in each.variables),
    )


def _has_changed(manifest: Mapping[str, Any]) -> bool:
    return (
        any(not _is_same_file(path, state) for path, state in manifest["files"].items())
        or any(_listing(path) != listing for path, listing in manifest["directories"].items())
        or any(_kind_of(path) != kind for path, kind in manifest["looked_for"].items())
        or manifest["variables"] != _variables(manifest["variables"])
        or manifest["names_of_variables"] not in (None, _names_of_variables())
    )


def _digest_of_inputs(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _is_same_file(path: str, state: Mapping[str, Any]) -> bool:
    """By size and times, which cost nothing to compare; where the times differ, by content.

    The time of the last change of content can be set back, as `cp -p`, rsync, tar and container images do; that of the inode cannot.
    """
    try:
        now = Path(path).stat()
        if now.st_size != state["size"]:
            return False
        return (now.st_mtime_ns, now.st_ctime_ns) == (state["mtime_ns"], state["ctime_ns"]) or _digest_of(path) == state["sha256"]
    except OSError:
        return False


def _file_state(path: str) -> dict[str, Any] | None:
    try:
        now = Path(path).stat()
        return {"size": now.st_size, "mtime_ns": now.st_mtime_ns, "ctime_ns": now.st_ctime_ns, "sha256": _digest_of(path)}
    except OSError:
        return None


def _changed_at(state: Mapping[str, int]) -> int:
    """When the file last changed, or another took its place."""
    return max(state["mtime_ns"], state["ctime_ns"])


def _not_made(inputs: RankInputs) -> Sequence[str]:
    """What the ranks looked for, and no rank has made, nor what is below."""
    made = {*inputs.made}
    return [path for path in {*inputs.looked_for} if made.isdisjoint((path, *map(str, Path(path).parents)))]


def _is_small_file(path: str) -> bool:
    try:
        now = Path(path).stat()
    except OSError:
        return False
    return stat.S_ISREG(now.st_mode) and now.st_size <= _SMALL_BYTES and os.access(path, os.R_OK)


def _kind_of(path: str) -> str:
    """What is at the path, in short: nothing, a directory, a file of some size; and where a link leads."""
    try:
        leads = f"-> {os.readlink(path)} " if os.path.islink(path) else ""  # noqa: PTH114, PTH115
    except OSError:
        leads = ""
    try:
        now = Path(path).stat()
    except OSError:
        return f"{leads}nothing"
    return leads + (f"{now.st_size} B" if stat.S_ISREG(now.st_mode) else f"type {stat.S_IFMT(now.st_mode):o}")


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


def _names_of_variables() -> str:
    """Of all that are set, in short."""
    return hashlib.sha256("\0".join(sorted(os.environ.keys() - _OF_THE_SHELL)).encode(errors="surrogateescape")).hexdigest()


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
