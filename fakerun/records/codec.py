"""RankRecord as bytes: gzipped JSON, `{"schema_version": 1, "record": {...}}`. The only place that knows how records lie in a file.

A long run has some hundred thousand memory blocks. Their JSON is a few strings over and over: gzip's fastest level makes it nine
times smaller in less time than the disk would take, and pydantic reads each string once.
"""

import gzip
import json
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from fakerun.errors import UsageError
from fakerun.records.run import RankRecord

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA_VERSION: Literal[1] = 1
"""Raised when a record's fields change meaning or go; a new field with a default does not raise it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    schema_version: Literal[1]
    record: RankRecord


@cache
def _adapter() -> "TypeAdapter[_Envelope]":
    # Imported on use: commands that read no records need not wait for it.
    from pydantic import TypeAdapter

    return TypeAdapter(_Envelope)


def encode_rank(record: RankRecord) -> bytes:
    """The record as bytes; equal records give equal bytes."""
    text = _adapter().dump_json(_Envelope(schema_version=SCHEMA_VERSION, record=record))
    return gzip.compress(text, compresslevel=1, mtime=0)


def decode_rank(data: bytes, *, source: str = "record") -> RankRecord:
    """The record that `encode_rank` wrote; `source` is what messages call the bytes: the path of the file.

    Raises:
        UsageError: the bytes are no record, or one of another schema version.
    """
    try:
        text = gzip.decompress(data)
        return _adapter().validate_json(text).record
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{source}: not a record of fakerun ({error}); run the job again") from error
    except ValueError as error:  # pydantic's ValidationError is one
        raise UsageError(f"{source}: {_what_is_wrong(text, error)}; run the job again with this fakerun") from error


def _what_is_wrong(text: bytes, error: ValueError) -> str:
    """Told only after validation failed: looking at the version first would parse every good file twice."""
    try:
        document: Any = json.loads(text)
    except ValueError:
        return f"not a record of fakerun ({error})"
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        return f"has schema version {version}, this fakerun reads {SCHEMA_VERSION}"
    return f"the record is damaged ({error})"
