"""Reading what an earlier run left, or somebody else put there: within limits, and with the reason in our own words if it is damaged."""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any

from fakerun.errors import UsageError
from fakerun.files import read_regular

MOST_BYTES = 1 << 29
"""Of one document or part, decompressed. A step of a thousand layers takes some ten MiB."""

_FIRST_BYTES = 1 << 12


def read_recorded(path: Path) -> bytes:
    """The bytes of a file of a run.

    Raises:
        OSError: it cannot be read.
        UsageError: it is no file, or too large for one of a run.
    """
    try:
        return read_regular(path, most_bytes=MOST_BYTES)
    except ValueError as error:
        raise UsageError(f"{path}: {error}; run the job again") from error


def decompressed(data: bytes, source: str) -> bytes:
    """What was compressed by gzip, if that is JSON of a size that records have.

    Raises:
        UsageError: the message begins with `source`.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            first = file.read(_FIRST_BYTES)
            if not first.lstrip().startswith((b"{", b"[")):
                raise UsageError(f"{source}: not a fakerun record; run the job again")
            rest = file.read(MOST_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{source}: not a fakerun record ({error}); run the job again") from error
    if len(rest) == MOST_BYTES:
        raise UsageError(f"{source}: larger than any record ({MOST_BYTES >> 20} MiB); run the job again")
    return first + rest


def damage(error: Exception) -> str:
    """Which value pydantic refuses, without its words: `steps is not a whole number`."""
    errors: Any = getattr(error, "errors", None)
    if errors is None:
        return "is not what was recorded"
    first = errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return "is not complete JSON"
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in first["loc"]).removeprefix(".")
    return f"{where or 'the document'} is {_WRONG.get(first['type'], 'not what is recorded there')}"


_WRONG = {"missing": "missing", "int_type": "not a whole number", "int_parsing": "not a whole number", "string_type": "not a string"}
