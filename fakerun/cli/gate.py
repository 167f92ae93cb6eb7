"""The options that say what a run must hold to pass, for every command that judges one."""

import re
from collections.abc import Iterable
from typing import Annotated, TypeAlias

from fakerun.cli.report_output import option
from fakerun.errors import UsageError
from fakerun.job.budgets import Budgets, CodeBudget, MemoryBudget, MemoryKey, MemoryLimit, Required, parse_memory_limit
from fakerun.records.finding_code import FindingCode, codes_named

MaxMemory: TypeAlias = Annotated[
    str | None, option(metavar="SIZE|PERCENT", help="Exit with 1 if a GPU's peak is above this: 70GiB, or 90% of its memory.")
]
Ignore: TypeAlias = Annotated[
    list[str] | None, option(metavar="CODE,...", help="Leave out findings of these codes, errors too; the report counts them.")
]
Strict: TypeAlias = Annotated[bool, option("--strict", help="Exit with 1 on warnings too.")]


def gate_of(max_memory: str | None, ignore: list[str] | None, *, strict: bool) -> Budgets:
    """The budgets that the options ask for.

    Raises:
        UsageError: the limit is no size, or there is no such code.
    """
    return Budgets(
        memory=() if max_memory is None else (_memory_budget(max_memory),),
        allowed=tuple(CodeBudget(code=code, source="--ignore") for code in sorted(_codes(ignore or ()))),
        strict=Required(source="--strict") if strict else None,
    )


def _memory_budget(text: str) -> MemoryBudget:
    return MemoryBudget(key=MemoryKey.PEAK_RESERVED, limit=_memory_limit(text), source="--max-memory", only_simulated=True)


def _memory_limit(text: str) -> MemoryLimit:
    try:
        return parse_memory_limit(text)
    except UsageError as error:
        raise UsageError(f"--max-memory: {error}") from error


def _codes(texts: Iterable[str]) -> frozenset[FindingCode]:
    try:
        return codes_named(name for text in texts for name in filter(None, re.split(r"[\s,]+", text)))
    except UsageError as error:
        raise UsageError(f"--ignore {error}") from error
