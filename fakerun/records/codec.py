"""RankRecord as gzipped JSON, and what is known of the whole run as JSON. The only module that knows the file format of records.

A rank's document is short: it names the rank's groups and refers to the long parts of the record by a hash of their content, so that ranks
share equal parts. A long run has some hundred thousand calls and instructions, whose JSON repeats a few strings: gzip's fastest level
makes it nine times smaller in less time than the disk would need, and pydantic reads each distinct string once.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from fakerun.call_site import CallSite
from fakerun.errors import UsageError
from fakerun.mesh import Mesh
from fakerun.records.damage import damage, decompressed
from fakerun.records.device_program import DeviceProgram, check_program
from fakerun.records.findings import Finding
from fakerun.records.rank_function import Number, RankFunction, RankOperation, RankTest, UnfollowedUse
from fakerun.records.run import AssumedRanks, Blocked, GroupCreation, ModelInput, ProcessFailure, RankRecord, RunRecord
from fakerun.records.schedule import ProcessGroup, RankCalls, Schedule, calls_of, check_groups, check_schedule

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION: Literal[4] = 4
"""Incremented when a field of a record changes its meaning or is removed; a new field with a default does not increment it."""

_DIGEST_BYTES = 16

_PART_NAME = re.compile(f"[a-z]+-[0-9a-f]{{{2 * _DIGEST_BYTES}}}")
_MOST_RANKS = 2**24
"""In one entry: of a group, or of all groups that one line creates."""

_Progressions = tuple[tuple[int, int, int], ...]
"""Ranks as arithmetic progressions: first rank, number of ranks, stride."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    label: str | None
    name: str
    ranks: _Progressions


@dataclass(frozen=True, slots=True, kw_only=True)
class _GroupCreation:
    ranks: _Progressions
    before: int
    count: int = 1
    callers: _Progressions | None = None
    call_site: CallSite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _RankFunction:
    """Its constants are in `integers`, or in `numbers` if some are not whole: the ranks of a group are few progressions."""

    operation: RankOperation
    operands: "tuple[_RankFunction, ...]" = ()
    integers: _Progressions = ()
    numbers: tuple[Number, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _RankTest:
    function: _RankFunction
    outcome: Number
    call_site: CallSite | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _RankUses:
    tests: tuple[_RankTest, ...] = ()
    unfollowed: tuple[UnfollowedUse, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    schema_version: Literal[4]
    rank: int
    mesh: Mesh | None
    steps: int
    schedule: str
    groups: tuple[_Group, ...]
    group_creations: str
    program: str
    devices: tuple[int, ...]
    findings: tuple[Finding, ...]
    rank_uses: str | None = None
    failure: ProcessFailure | None
    blocked: Blocked | None = None
    stopped_at: CallSite | None = None
    exited_at: CallSite | None = None
    torch_version: str | None
    memory_variables: Mapping[str, str] = field(default_factory=dict)
    model_inputs: tuple[ModelInput, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Assumed:
    ranks: _Progressions
    representative: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunDocument:
    schema_version: Literal[4]
    fakerun_version: str
    torch_version: str | None
    is_complete: bool
    added: tuple[int, ...]
    assumed: tuple[_Assumed, ...]
    mesh: Mesh | None
    findings: tuple[Finding, ...]


_Part = TypeVar("_Part", Schedule, DeviceProgram, tuple[_GroupCreation, ...], _RankUses)


@dataclass(frozen=True, slots=True)
class EncodedRank:
    """A rank's document, and by name the parts that it refers to."""

    document: bytes
    parts: Mapping[str, bytes]


@cache
def _adapter(kind: Any) -> "TypeAdapter[Any]":
    # Imported on use: it is slow to import, and not every command reads records.
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def encode_rank(record: RankRecord) -> EncodedRank:
    """The record as bytes. Equal records give equal bytes, and equal parts of two records have one name."""
    calls = calls_of(record.rank, record.collectives)
    parts: dict[str, bytes] = {}

    def add_part(prefix: str, kind: Any, value: Any) -> str:
        text = _json(kind, value, exclude_defaults=True)
        name = f"{prefix}-{hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()}"
        parts[name] = _compressed(text)
        return name

    uses = _RankUses(tests=tuple(map(_encoded_test, record.rank_tests)), unfollowed=record.unfollowed_uses)
    document = _Document(
        schema_version=SCHEMA_VERSION,
        rank=record.rank,
        mesh=record.mesh,
        steps=record.steps,
        schedule=add_part("schedule", Schedule, calls.schedule),
        groups=tuple(_Group(label=group.label, name=group.name, ranks=_progressions(group.ranks)) for group in calls.groups),
        group_creations=add_part("groups", tuple[_GroupCreation, ...], tuple(map(_encoded_creation, record.group_creations))),
        program=add_part("program", DeviceProgram, record.program),
        devices=record.devices,
        findings=record.findings,
        rank_uses=add_part("uses", _RankUses, uses) if uses != _RankUses() else None,
        failure=record.failure,
        blocked=record.blocked,
        stopped_at=record.stopped_at,
        exited_at=record.exited_at,
        torch_version=record.torch_version,
        memory_variables=record.memory_variables,
        model_inputs=record.model_inputs,
    )
    return EncodedRank(_compressed(_json(_Document, document)), parts)


class RankDecoder:
    """Decodes records, each part once: equal parts of several records are one object. `read_part` returns the bytes of a part by name."""

    def __init__(self, read_part: Callable[[str], bytes]) -> None:
        self._read_part = read_part
        self._parts: dict[str, Any] = {}
        self._creations: dict[str, tuple[GroupCreation, ...]] = {}
        self._tests: dict[str, tuple[RankTest, ...]] = {}
        self._ranks: dict[_Progressions, tuple[int, ...]] = {}

    def decode(self, data: bytes, *, source: str = "record") -> RankRecord:
        """The record that `encode_rank` encoded; `source` is the name of the bytes in messages: the path of the file.

        Raises:
            UsageError: the bytes are not a record of this schema version, or a part is missing or damaged.
        """
        document: _Document = _decoded(_Document, data, source, has_version=True)
        schedule = self._part(Schedule, document.schedule)
        try:
            groups = tuple(map(self._group, document.groups))
            check_groups(schedule, groups)
        except ValueError as error:
            raise UsageError(f"{source}: the record is damaged: {error}; run the job again") from error
        return RankRecord(
            rank=document.rank,
            mesh=document.mesh,
            steps=document.steps,
            collectives=RankCalls(document.rank, schedule, groups),
            group_creations=self._group_creations(document.group_creations),
            program=self._part(DeviceProgram, document.program),
            devices=document.devices,
            findings=document.findings,
            rank_tests=() if document.rank_uses is None else self._rank_tests(document.rank_uses),
            unfollowed_uses=() if document.rank_uses is None else self._part(_RankUses, document.rank_uses).unfollowed,
            failure=document.failure,
            blocked=document.blocked,
            stopped_at=document.stopped_at,
            exited_at=document.exited_at,
            torch_version=document.torch_version,
            memory_variables=document.memory_variables,
            model_inputs=document.model_inputs,
        )

    def _part(self, kind: type[_Part], name: str) -> _Part:
        if not _PART_NAME.fullmatch(name):
            raise UsageError(f"a record refers to {name!r}, which is no part of a run; run the job again")
        if name not in self._parts:
            try:
                data = self._read_part(name)
            except OSError as error:
                raise UsageError(f"{error.filename}: {error.strerror}, which a record refers to; run the job again") from error
            self._parts[name] = _decoded(kind, data, name)
            _check_part(self._parts[name], name)
        part: _Part = self._parts[name]
        return part

    def _group_creations(self, name: str) -> tuple[GroupCreation, ...]:
        if name not in self._creations:
            try:
                self._creations[name] = tuple(map(_decoded_creation, self._part(tuple[_GroupCreation, ...], name)))
            except ValueError as error:
                raise UsageError(f"{name}: the record is damaged: {error}; run the job again") from error
        return self._creations[name]

    def _rank_tests(self, name: str) -> tuple[RankTest, ...]:
        if name not in self._tests:
            self._tests[name] = tuple(map(_decoded_test, self._part(_RankUses, name).tests))
        return self._tests[name]

    def _group(self, group: _Group) -> ProcessGroup:
        if group.ranks not in self._ranks:
            self._ranks[group.ranks] = _ranks(group.ranks)
        ranks = self._ranks[group.ranks]
        return ProcessGroup(label=group.label, name=group.name, ranks=ranks)


def encode_run(run: RunRecord) -> bytes:
    """What is known of the run, without its ranks' records."""
    document = _RunDocument(
        schema_version=SCHEMA_VERSION,
        fakerun_version=run.fakerun_version,
        torch_version=run.torch_version,
        is_complete=run.is_complete,
        added=run.added,
        assumed=tuple(_Assumed(ranks=_progressions(each.ranks), representative=each.representative) for each in run.assumed),
        mesh=run.mesh,
        findings=run.findings,
    )
    return _adapter(_RunDocument).dump_json(document, indent=2) + b"\n"


def decode_run(data: bytes, ranks: tuple[RankRecord, ...], *, source: str) -> RunRecord:
    """The run that `encode_run` encoded, with the records of its ranks.

    Raises:
        UsageError: the bytes are not a run of this schema version.
    """
    document: _RunDocument = _validated(_RunDocument, data, source, has_version=True)
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
    """The value as JSON. Lone surrogates, with which Python represents file names that are not UTF-8, become readable escapes."""
    try:
        return _adapter(kind).dump_json(value, exclude_defaults=exclude_defaults)
    except ValueError:  # pydantic's PydanticSerializationError is one
        plain = _adapter(kind).dump_python(value, mode="json", exclude_defaults=exclude_defaults)
        text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
        return re.sub("[\ud800-\udfff]", lambda found: f"\\\\u{ord(found[0]):x}", text).encode()


def _compressed(text: bytes) -> bytes:
    return gzip.compress(text, compresslevel=1, mtime=0)


def _encoded_creation(creation: GroupCreation) -> _GroupCreation:
    callers = None if creation.callers is None else _progressions(creation.callers)
    return _GroupCreation(
        ranks=_progressions(creation.ranks), before=creation.before, count=creation.count, callers=callers, call_site=creation.call_site
    )


def _decoded_creation(creation: _GroupCreation) -> GroupCreation:
    callers = None if creation.callers is None else _ranks(creation.callers)
    return GroupCreation(
        ranks=_ranks(creation.ranks), before=creation.before, count=creation.count, callers=callers, call_site=creation.call_site
    )


def _encoded_test(test: RankTest) -> _RankTest:
    return _RankTest(function=_encoded_function(test.function), outcome=test.outcome, call_site=test.call_site)


def _decoded_test(test: _RankTest) -> RankTest:
    return RankTest(function=_decoded_function(test.function), outcome=test.outcome, call_site=test.call_site)


def _encoded_function(function: RankFunction) -> _RankFunction:
    integers = [number for number in function.constants if isinstance(number, int)]
    is_whole = len(integers) == len(function.constants)
    return _RankFunction(
        operation=function.operation,
        operands=tuple(map(_encoded_function, function.operands)),
        integers=_progressions(integers) if is_whole else (),
        numbers=() if is_whole else function.constants,
    )


def _decoded_function(function: _RankFunction) -> RankFunction:
    return RankFunction(
        operation=function.operation,
        operands=tuple(map(_decoded_function, function.operands)),
        constants=function.numbers or _ranks(function.integers),
    )


def _progressions(ranks: Sequence[int]) -> _Progressions:
    progressions: list[tuple[int, int, int]] = []
    for rank in ranks:
        if progressions:
            first, count, stride = progressions[-1]
            if count == 1 or rank == first + count * stride:
                progressions[-1] = (first, count + 1, rank - first if count == 1 else stride)
                continue
        progressions.append((rank, 1, 1))
    return tuple(progressions)


def _check_part(part: Any, name: str) -> None:
    """Refuse a part whose numbers refer to nothing."""
    try:
        if isinstance(part, Schedule):
            check_schedule(part)
        elif isinstance(part, DeviceProgram):
            check_program(part)
    except ValueError as error:
        raise UsageError(f"{name}: the record is damaged: {error}; run the job again") from error


def _ranks(progressions: _Progressions) -> tuple[int, ...]:
    """The ranks.

    Raises:
        ValueError: more than any world has groups of; only a damaged record says so.
    """
    if sum(count for _, count, _ in progressions) > _MOST_RANKS:
        raise ValueError("a group has more ranks than there can be")
    return tuple(first + i * stride for first, count, stride in progressions for i in range(count))


def _decoded(kind: Any, data: bytes, source: str, *, has_version: bool = False) -> Any:
    return _validated(kind, decompressed(data, source), source, has_version=has_version)


def _validated(kind: Any, text: bytes, source: str, *, has_version: bool = False) -> Any:
    try:
        return _adapter(kind).validate_json(text)
    except ValueError as error:  # pydantic's ValidationError is one
        reason = _invalid_because(text, error) if has_version else f"the record is damaged: {damage(error)}"
        raise UsageError(f"{source}: {reason}; run the job again with this fakerun") from error


def _invalid_because(text: bytes, error: ValueError) -> str:
    """Why validation failed. Checking the version before validation would parse every valid file twice."""
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return "not a fakerun record"
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        return f"schema version {version}, but this fakerun reads version {SCHEMA_VERSION}"
    return f"the record is damaged: {damage(error)}"
