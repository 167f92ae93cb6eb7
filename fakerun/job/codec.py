"""JobSpec as bytes: JSON, `{"fakerun_job": 2, "job": {...}}`. The launcher writes it for the ranks; it also identifies a run directory."""

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from fakerun.errors import UsageError
from fakerun.job.spec import JobSpec
from fakerun.job.world import MAX_RANKS
from fakerun.records.damage import damage

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION: Literal[2] = 2
"""Incremented when a field of a job changes its meaning or is removed."""

_VERSION_KEY = "fakerun_job"
"""A key that no other program's `job.json` has: only a directory with it is taken as a run directory and written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    fakerun_job: Literal[2]
    job: JobSpec


@cache
def _adapter() -> "TypeAdapter[_Envelope]":
    # Imported on use: it is slow to import, and `fakerun --help` does not need it.
    from pydantic import TypeAdapter

    return TypeAdapter(_Envelope)


def encode_job(job: JobSpec) -> bytes:
    """The job as bytes; equal jobs give equal bytes.

    Raises:
        UsageError: a path, an argument or a variable is not UTF-8.
    """
    try:
        return _adapter().dump_json(_Envelope(fakerun_job=SCHEMA_VERSION, job=job), indent=2) + b"\n"
    except ValueError as error:  # pydantic's PydanticSerializationError is one
        what = str(error).rpartition("UnicodeEncodeError: ")[2]
        raise UsageError(f"the script's path, an argument or a variable is not UTF-8 ({what}); rename it") from error


def decode_job(data: bytes, *, source: str = "job") -> JobSpec:
    """The job that `encode_job` encoded; `source` is the name of the bytes in messages: the path of the file.

    Raises:
        UsageError: the bytes are not a job of this schema version.
    """
    version = job_version(data)
    if version is None:
        raise UsageError(f"{source}: not the job file of a run directory; pass the directory you gave to --run-dir")
    if version != SCHEMA_VERSION:
        raise UsageError(f"{source}: schema version {version}, but this fakerun reads version {SCHEMA_VERSION}; run the job again")
    try:
        job = _adapter().validate_json(data).job
    except ValueError as error:  # pydantic's ValidationError is one
        raise UsageError(f"{source}: the job file is damaged: {damage(error)}; run the job again") from error
    if not (job.nnodes >= 1 and job.nproc_per_node >= 1 and job.world_size <= MAX_RANKS):
        raise UsageError(f"{source}: the job file is damaged: no world has {job.world_size} ranks; run the job again")
    return job


def load_job_validator() -> None:
    """Import pydantic and build the validator of jobs now instead of on first use."""
    _adapter()


def job_version(data: bytes) -> int | None:
    """The schema version of an encoded job; None for bytes that fakerun did not write."""
    try:
        document: Any = json.loads(data)
    except (ValueError, RecursionError):
        return None
    version = document.get(_VERSION_KEY) if isinstance(document, dict) else None
    return version if isinstance(version, int) else None
