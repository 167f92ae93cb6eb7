"""The options that say what a run must hold to pass, for every command that judges one."""

import re
from collections.abc import Iterable
from typing import Annotated, TypeAlias

from fakerun.analysis.gate import Gate, MemoryLimit
from fakerun.cli.report_output import option
from fakerun.errors import UsageError
from fakerun.hardware.quantities import BYTES
from fakerun.records.finding_code import FindingCode, codes_named

MaxMemory: TypeAlias = Annotated[
    str | None, option(metavar="SIZE|PERCENT", help="Exit with 1 if a GPU's peak is above this: 70GiB, or 90% of its memory.")
]
Ignore: TypeAlias = Annotated[
    list[str] | None, option(metavar="CODE,...", help="Leave out findings of these codes, errors too; the report counts them.")
]
Strict: TypeAlias = Annotated[bool, option("--strict", help="Exit with 1 on warnings too.")]

_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]+)?)\s*%")


def gate_of(max_memory: str | None, ignore: list[str] | None, *, strict: bool) -> Gate:
    """The gate that the options describe.

    Raises:
        UsageError: the limit is no size, or there is no such code.
    """
    return Gate(
        max_memory=None if max_memory is None else _memory_limit(max_memory),
        ignored=_codes(ignore or ()),
        strict=strict,
    )


def _memory_limit(text: str) -> MemoryLimit:
    percent = _PERCENT.fullmatch(text.strip())
    if percent is None:
        try:
            return MemoryLimit(text=text, nbytes=int(BYTES.parse(text)))
        except UsageError as error:
            raise UsageError(f"--max-memory: {error}, or a share of the accelerator's memory, as in 90%") from error
    share = float(percent[1]) / 100
    if not 0 < share <= 1:
        raise UsageError(f"--max-memory {text}: must be above 0 % and at most 100 %")
    return MemoryLimit(text=text, share=share)


def _codes(texts: Iterable[str]) -> frozenset[FindingCode]:
    try:
        return codes_named(name for text in texts for name in filter(None, re.split(r"[\s,]+", text)))
    except UsageError as error:
        raise UsageError(f"--ignore {error}") from error
