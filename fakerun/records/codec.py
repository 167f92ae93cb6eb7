"""RankRecord as bytes: gzipped JSON; what is known of the whole run, as JSON. The only place that knows how records lie in a file.

A rank's document is short: it names its groups, and refers to the long parts of the record, which other ranks may have in common with
it, by a name that follows from their content. A long run has some hundred thousand calls and memory blocks. Their JSON is a few strings
over and over: gzip's fastest level makes it nine times smaller in less time than the disk would take, and pydantic reads each string once.
"""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fakerun.call_site import CallSite
from fakerun.errors import UsageError
from fakerun.mesh import Mesh
from fakerun.records.findings import Finding
from fakerun.records.memory import MemoryTimeline
from fakerun.records.run import AssumedRanks, GroupCreation, ProcessFailure, RankRecord, RunRecord
from fakerun.records.schedule import ProcessGroup, RankCalls, Schedule, calls_of

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION: Literal[3] = 3
"""Raised when a record's fields change meaning or go; a new field with a default does not raise it."""

_DIGEST_BYTES = 16

_Runs = tuple[tuple[int, int, int], ...]
"""Ranks as arithmetic progressions: first, how many, by how much they grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    label: str | None
    name: str
    ranks: _Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class _GroupCreation:
    ranks: _Runs
    before: int
    count: int = 1
    callers: _Runs | None = None
    call_site: CallSite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    schema_version: Literal[3]
    rank: int
    mesh: Mesh | None
    steps: int
    schedule: str
    groups: tuple[_Group, ...]
    group_creations: str
    memory: str
    devices: tuple[int, ...]
    findings: tuple[Finding, ...]
    failure: ProcessFailure | None
    torch_version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Assumed:
    ranks: _Runs
    representative: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunDocument:
    schema_version: Literal[3]
    fakerun_version: str
    torch_version: str | None
    is_complete: bool
    added: tuple[int, ...]
    assumed: tuple[_Assumed, ...]
    mesh: Mesh | None
    findings: tuple[Finding, ...]


_Part = TypeVar("_Part", Schedule, MemoryTimeline, tuple[_GroupCreation, ...])


@dataclass(frozen=True, slots=True)
class EncodedRank:
    """A rank's own document, and by name the parts that it refers to."""

    document: bytes
    parts: Mapping[str, bytes]


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    # Imported on use: commands that read no records need not wait for it.
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def encode_rank(record: RankRecord) -> EncodedRank:
    """The record as bytes; equal records give equal bytes, and what is equal in two records has one name."""
    calls = calls_of(record.rank, record.collectives)
    parts: dict[str, bytes] = {}

    def part(of: str, kind: Any, value: Any) -> str:
        text = _json(kind, value, exclude_defaults=True)
        name = f"{of}-{hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()}"
        parts[name] = _compressed(text)
        return name

    document = _Document(
        schema_version=SCHEMA_VERSION,
        rank=record.rank,
        mesh=record.mesh,
        steps=record.steps,
        schedule=part("schedule", Schedule, calls.schedule),
        groups=tuple(_Group(label=group.label, name=group.name, ranks=_runs(group.ranks)) for group in calls.groups),
        group_creations=part("groups", tuple[_GroupCreation, ...], tuple(map(_new_group, record.group_creations))),
        memory=part("memory", MemoryTimeline, record.memory),
        devices=record.devices,
        findings=record.findings,
        failure=record.failure,
        torch_version=record.torch_version,
    )
    return EncodedRank(_compressed(_json(_Document, document)), parts)


class RankDecoder:
    """Reads records, each part once: equal parts of several records are one object. `read_part` gives the bytes of a part by name."""

    def __init__(self, read_part: Callable[[str], bytes]) -> None:
        self._read_part = read_part
        self._parts: dict[str, Any] = {}
        self._made: dict[str, tuple[GroupCreation, ...]] = {}
        self._ranks: dict[_Runs, tuple[int, ...]] = {}

    def decode(self, data: bytes, *, source: str = "record") -> RankRecord:
        """The record that `encode_rank` wrote; `source` is what messages call the bytes: the path of the file.

        Raises:
            UsageError: the bytes are no record, or one of another schema version; or a part is missing or damaged.
        """
        document: _Document = _decoded(_Document, data, source, version_matters=True)
        groups = tuple(map(self._group, document.groups))
        schedule = self._part(Schedule, document.schedule)
        return RankRecord(
            rank=document.rank,
            mesh=document.mesh,
            steps=document.steps,
            collectives=RankCalls(document.rank, schedule, groups),
            group_creations=self._new_groups(document.group_creations),
            memory=self._part(MemoryTimeline, document.memory),
            devices=document.devices,
            findings=document.findings,
            failure=document.failure,
            torch_version=document.torch_version,
        )

    def _part(self, kind: type[_Part], name: str) -> _Part:
        if name not in self._parts:
            try:
                data = self._read_part(name)
            except OSError as error:
                raise UsageError(f"{error.filename}: {error.strerror}, which a record refers to; run the job again") from error
            self._parts[name] = _decoded(kind, data, name)
        part: _Part = self._parts[name]
        return part

    def _new_groups(self, name: str) -> tuple[GroupCreation, ...]:
        if name not in self._made:
            self._made[name] = tuple(map(_as_it_was, self._part(tuple[_GroupCreation, ...], name)))
        return self._made[name]

    def _group(self, group: _Group) -> ProcessGroup:
        if group.ranks not in self._ranks:
            self._ranks[group.ranks] = _ranks(group.ranks)
        ranks = self._ranks[group.ranks]
        return ProcessGroup(label=group.label, name=group.name, ranks=ranks)


def encode_run(run: RunRecord) -> bytes:
    """What is known of the run beside its ranks' records."""
    document = _RunDocument(
        schema_version=SCHEMA_VERSION,
        fakerun_version=run.fakerun_version,
        torch_version=run.torch_version,
        is_complete=run.is_complete,
        added=run.added,
        assumed=tuple(_Assumed(ranks=_runs(each.ranks), representative=each.representative) for each in run.assumed),
        mesh=run.mesh,
        findings=run.findings,
    )
    return _adapter(_RunDocument).dump_json(document, indent=2) + b"\n"


def decode_run(data: bytes, ranks: tuple[RankRecord, ...], *, source: str) -> RunRecord:
    """The run that `encode_run` wrote, with the records of its ranks.

    Raises:
        UsageError: the bytes are no run, or one of another schema version.
    """
    document: _RunDocument = _validated(_RunDocument, data, source, version_matters=True)
    return RunRecord(
        fakerun_version=document.fakerun_version,
        torch_version=document.torch_version,
        ranks=ranks,
        is_complete=document.is_complete,
        added=document.added,
        assumed=tuple(AssumedRanks(ranks=_ranks(each.ranks), representative=each.representative) for each in document.assumed),
        mesh=document.mesh,
        findings=document.findings,
    )


def _json(kind: Any, value: Any, *, exclude_defaults: bool = False) -> bytes:
    """As JSON. Lone surrogates, which UTF-8 cannot hold, as readable escapes: Python makes them of names of files that are no UTF-8."""
    try:
        return _adapter(kind).dump_json(value, exclude_defaults=exclude_defaults)
    except ValueError:  # pydantic's PydanticSerializationError is one
        plain = _adapter(kind).dump_python(value, mode="json", exclude_defaults=exclude_defaults)
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        return re.sub("[\ud800-\udfff]", lambda found: f"\\\\u{ord(found[0]):x}", text).encode()


def _compressed(text: bytes) -> bytes:
    return gzip.compress(text, compresslevel=1, mtime=0)


def _new_group(made: GroupCreation) -> _GroupCreation:
    callers = None if made.callers is None else _runs(made.callers)
    return _GroupCreation(ranks=_runs(made.ranks), before=made.before, count=made.count, callers=callers, call_site=made.call_site)


def _as_it_was(made: _GroupCreation) -> GroupCreation:
    callers = None if made.callers is None else _ranks(made.callers)
    return GroupCreation(ranks=_ranks(made.ranks), before=made.before, count=made.count, callers=callers, call_site=made.call_site)


def _runs(ranks: Sequence[int]) -> _Runs:
    runs: list[tuple[int, int, int]] = []
    for rank in ranks:
        if runs:
            first, count, stride = runs[-1]
            if count == 1 or rank == first + count * stride:
                runs[-1] = (first, count + 1, rank - first if count == 1 else stride)
                continue
        runs.append((rank, 1, 1))
    return tuple(runs)


def _ranks(runs: _Runs) -> tuple[int, ...]:
    return tuple(first + i * stride for first, count, stride in runs for i in range(count))


def _decoded(kind: Any, data: bytes, source: str, *, version_matters: bool = False) -> Any:
    try:
        text = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{source}: not a fakerun record ({error}); run the job again") from error
    return _validated(kind, text, source, version_matters=version_matters)


def _validated(kind: Any, text: bytes, source: str, *, version_matters: bool = False) -> Any:
    try:
        return _adapter(kind).validate_json(text)
    except ValueError as error:  # pydantic's ValidationError is one
        wrong = _what_is_wrong(text, error) if version_matters else f"the record is damaged ({error})"
        raise UsageError(f"{source}: {wrong}; run the job again with this fakerun") from error


def _what_is_wrong(text: bytes, error: ValueError) -> str:
    """Called only after validation failed: checking the version first would parse every good file twice."""
    try:
        document: Any = json.loads(text)
    except ValueError:
        return f"not a fakerun record ({error})"
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        return f"schema version {version}, but this fakerun reads version {SCHEMA_VERSION}"
    return f"the record is damaged ({error})"
