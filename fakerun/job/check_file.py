"""The jobs of a file: `fakerun.yaml`, `[tool.fakerun]` of a pyproject.toml, or the job file of a single job.

A file of several jobs has `version`, `jobs` by name, and `defaults` under each of them. All of it is checked before anything runs; all
errors are reported at once.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from fakerun.errors import UsageError
from fakerun.job.document import Document, Key
from fakerun.job.layers import LayeredJob, merged
from fakerun.job.matrix import MATRIX, MOST_JOBS, combinations, path_of, with_values
from fakerun.job.request import JobRequest
from fakerun.job.tolerances import Tolerances
from fakerun.job.toml_document import TomlDocument
from fakerun.job.validation import shown
from fakerun.job.yaml_document import YamlDocument
from fakerun.job.yaml_job import FileJob, JobFile, JobOfSeveral, read_job, validated
from fakerun.spelling import did_you_mean

VERSION = 1

STATE_DIRECTORY = ".fakerun"
"""Beside a job file: what `fakerun check` keeps."""

_KEYS = ("version", "defaults", "jobs")
_OF_SEVERAL = frozenset(_KEYS)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_MOST_PARTS = 50_000
"""Of all jobs of a file together, when aliases, defaults and matrices are written out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckJob:
    """A job with what it must hold to pass. Its limits are the request's budgets; `source` is where it is described, `file:line`.

    `tolerances` are how far the job may be from its `baseline`.
    """

    name: str
    request: JobRequest
    source: str
    baseline: Path
    is_baseline_named: bool = False
    """Whether the file names it: then it must be there."""
    tolerances: Tolerances


def load_jobs(path: Path) -> tuple[CheckJob, ...]:
    """The jobs of a file, at least one; a single one is named as the file.

    Raises:
        UsageError: every error in the file, a line each: `file:line: key: what is wrong, what is allowed`.
    """
    document = document_of(path)
    jobs = tuple(_several(document) if describes_several(document) else _single(document))
    document.raise_problems()
    return jobs


def document_of(path: Path) -> Document:
    """The file, parsed.

    Raises:
        UsageError: it cannot be read or parsed.
    """
    return TomlDocument(path) if path.suffix == ".toml" else YamlDocument(path)


def describes_several(document: Document) -> bool:
    """Whether a file is one of several jobs, whatever is wrong with it."""
    return isinstance(document.value, dict) and not _OF_SEVERAL.isdisjoint(document.value)


def select_jobs(jobs: Sequence[CheckJob], wanted: Sequence[str], *, file: Path) -> tuple[CheckJob, ...]:
    """The jobs with these names, in the order of the file; all of them if none is given.

    A name is that of a job, that of a job with a matrix, for all of its combinations, or a pattern with `*` and `?`.

    Raises:
        UsageError: no job has one of the names.
    """
    selected: set[str] = set()
    for each in wanted:
        found = {job.name for job in jobs if _is_named(job.name, each)}
        if not found:
            known = [job.name for job in jobs]
            near = did_you_mean(each, dict.fromkeys([*known, *(name.partition("[")[0] for name in known)]))
            raise UsageError(f"{file}: no job {each!r}{near}; jobs: {_listed(known)}")
        selected |= found
    return tuple(job for job in jobs if not wanted or job.name in selected)


def _is_named(name: str, wanted: str) -> bool:
    # Brackets are part of the names of combinations, and no pattern.
    return wanted in (name, name.partition("[")[0]) or fnmatchcase(name, wanted.replace("[", "[[]"))


def _listed(names: Sequence[str]) -> str:
    most = 10
    more = f" and {len(names) - most} others" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _single(document: Document) -> Iterator[CheckJob]:
    job = read_job(document)
    if job is not None and not document.problems:
        yield _check_job(document.path.stem, job, document)


def _check_job(name: str, job: FileJob, document: Document) -> CheckJob:
    return CheckJob(
        name=name,
        request=job.request,
        source=job.source,
        baseline=job.baseline or document.path.parent / STATE_DIRECTORY / "baselines" / f"{file_name(name)}.yaml",
        is_baseline_named=job.baseline is not None,
        tolerances=job.tolerances,
    )


def file_name(job: str) -> str:
    """The name of a job as that of a file: `train[mesh=2x4]` is `train.mesh=2x4`."""
    return re.sub(r"[^A-Za-z0-9_.,=+-]", "-", job.replace("[", ".").replace("]", "")).strip("-") or "job"


def _several(document: Document) -> Iterator[CheckJob]:
    """The jobs of a file of several; errors are noted in the document."""
    value: Any = document.value
    _check_top(document, value)
    named, defaults = value.get("jobs"), value.get("defaults", {})
    if not isinstance(named, dict) or not isinstance(defaults, dict) or not _is_of_moderate_size(document, [named, defaults]):
        return
    alone = LayeredJob(document=document, name="", layers=(("defaults",),), value=defaults)
    validated(alone, JobOfSeveral)
    layered = [job for name in named for job in _expanded(document, name, named[name], defaults)]
    if len(layered) > MOST_JOBS:
        document.refuse(("jobs",), f"{len(layered)} jobs; at most {MOST_JOBS} can be described in one file")
        return
    if not _is_of_moderate_size(document, [job.value for job in layered]):
        return
    jobs = []
    for each in layered:
        job = read_job(each, JobOfSeveral, workdir=document.path.parent)
        if job is not None and not each.is_wrong:
            jobs.append(_check_job(each.name, job, document))
    _check_baselines(document, jobs)
    yield from jobs


def _check_top(document: Document, value: dict[str, Any]) -> None:
    """Note what is wrong above the keys of the jobs."""
    for key in value:
        if key not in _KEYS:
            also = "; a job's key belongs below jobs.NAME or defaults" if key in JobFile.model_fields else ""
            document.refuse((key,), f"unknown key{did_you_mean(key, _KEYS)}; allowed: {', '.join(_KEYS)}{also}")
    if "version" not in value:
        document.refuse((), f"version is missing; write version: {VERSION}")
    elif value["version"] != VERSION or isinstance(value["version"], bool):
        document.refuse(("version",), f"must be {VERSION}, the only version that this fakerun reads, not {shown(value['version'])}")
    if "jobs" not in value:
        document.refuse((), "jobs is missing; it has a mapping for each job, by its name")
    for key in ("defaults", "jobs"):
        if key in value and not isinstance(value[key], dict) and not document.is_refused((key,)):
            document.refuse((key,), f"must be a mapping, not {shown(value[key])}")
    if isinstance(value.get("jobs"), dict):
        _check_names(document, value["jobs"])


def _check_names(document: Document, jobs: dict[str, object]) -> None:
    if not jobs:
        document.refuse(("jobs",), "has no job; describe one, as in train: {script: train.py, world_size: 8}")
    for name, job in jobs.items():
        if not _NAME.fullmatch(name):
            rule = "letters, digits, _, - and ., at most 100, the first one a letter, a digit or _"
            document.refuse(("jobs", name), f"is not a name for a job: use {rule}")
        elif not isinstance(job, dict) and not document.is_refused(("jobs", name)):
            document.refuse(("jobs", name), f"must be a mapping, not {shown(job)}; allowed keys: {', '.join(JobOfSeveral.model_fields)}")


def _expanded(document: Document, name: str, own: object, defaults: dict[str, Any]) -> Iterator[LayeredJob]:
    """The job, or one for each combination of its matrix."""
    if not isinstance(own, dict):
        return
    value: Any = merged(own, defaults)
    job = LayeredJob(document=document, name=name, layers=(("jobs", name), ("defaults",)), value=value)
    if MATRIX not in value:
        yield job
        return
    for each in combinations(job, value[MATRIX], JobFile.model_fields):
        yield LayeredJob(
            document=document,
            name=f"{name}[{each.label}]",
            layers=job.layers,
            value=with_values(value, value[MATRIX], each.chosen),
            chosen={path_of(key): job.place((MATRIX, key, index)) for key, index in each.chosen.items()},
        )


def _check_baselines(document: Document, jobs: Sequence[CheckJob]) -> None:
    first: dict[Path, str] = {}
    for job in jobs:
        if (other := first.setdefault(job.baseline, job.name)) != job.name:
            path: tuple[Key, ...] = ("jobs", job.name.partition("[")[0])
            document.refuse((*path, "baseline"), f"{job.baseline} is the baseline of {other}, too; give {job.name} a file of its own")


def _is_of_moderate_size(document: Document, values: Sequence[object]) -> bool:
    """Whether there are few parts in all when they are written out: aliases and matrices can make many of them in a short file."""
    sizes: dict[int, int] = {}
    try:
        parts = sum(_size(value, sizes) for value in values)
    except RecursionError:
        document.refuse((), "an alias contains itself, or lists or mappings are nested too deeply")
        return False
    if parts > _MOST_PARTS:
        document.refuse((), f"has {parts} parts when defaults, aliases and matrices are written out; at most {_MOST_PARTS} are read")
    return parts <= _MOST_PARTS


def _size(value: object, sizes: dict[int, int]) -> int:
    """The number of parts of a value, itself included. `sizes` has those of maps and lists, by identity: aliases share them."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in sizes:
        sizes[id(value)] = 1 + sum(_size(each, sizes) for each in (value.values() if isinstance(value, dict) else value))
    return sizes[id(value)]
