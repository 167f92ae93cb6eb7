"""The budgets of a test: what `@pytest.mark.fakerun(...)` asks, and whether the rank that the test was kept it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

import fakerun
from fakerun.errors import UsageError
from fakerun.job.budgets import Budgets
from fakerun.job.budgets_file import BudgetsFile, budgets_of
from fakerun.job.validation import NOT_KEYS, message_of
from fakerun.records.run import RunRecord
from fakerun.report import build_report
from fakerun.spelling import did_you_mean
from fakerun.testing.verdict import told_of
from fakerun.testing.world import FakeWorld

_WORLD = frozenset({"rank", "world_size", "mesh", "hardware", "backend"})
"""The arguments of `with_dist`; the others are budgets."""
_RANKS_AGREE = "ranks_agree"
_PEAK, _PEAK_MEMORY = "peak_reserved", "peak_memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedOfTest:
    """What a mark asks: arguments of `with_dist`, and budgets."""

    world: Mapping[str, Any]
    budgets: Budgets


def asked_of_test(positional: Sequence[Any], named: Mapping[str, Any], *, source: str) -> AskedOfTest:
    """What the arguments of a mark ask; `source` is where the test is. `peak_memory` is another name of `peak_reserved`.

    Raises:
        UsageError: one of them is not known, or its value is not allowed.
    """
    where = f"{source}: @pytest.mark.fakerun"
    if positional:
        raise UsageError(f"{where}: arguments must be named, as in world_size=8")
    if _RANKS_AGREE in named:
        raise UsageError(f"{where}: {_RANKS_AGREE}: a test is one rank, and nothing is known of the others; leave it out")
    world = {name: value for name, value in named.items() if name in _WORLD}
    limits = {name: value for name, value in named.items() if name not in _WORLD}
    if _PEAK_MEMORY in limits:
        if _PEAK in limits:
            raise UsageError(f"{where}: {_PEAK_MEMORY} and {_PEAK} are the same; keep one of them")
        limits[_PEAK] = limits.pop(_PEAK_MEMORY)
    try:
        file = BudgetsFile.model_validate(limits)
    except ValidationError as errors:
        raise UsageError(f"{where}: {_message(errors.errors(include_url=False)[0])}") from None
    return AskedOfTest(world=world, budgets=budgets_of(file, lambda _: source))


def _message(error: ErrorDetails) -> str:
    """What is wrong with an argument."""
    path = tuple(part for part in error["loc"] if part not in NOT_KEYS)
    if error["type"] == "extra_forbidden" and len(path) == 1:
        allowed = (*sorted(_WORLD), *(name for name in BudgetsFile.model_fields if name != _RANKS_AGREE))
        return f"no argument {path[0]}{did_you_mean(str(path[0]), allowed)}; allowed: {', '.join(allowed)}"
    return f"{'.'.join(map(str, path))}: {message_of(error, path, BudgetsFile, what='a budget')}"


def broken_budgets(world: FakeWorld, budgets: Budgets) -> str:
    """What the world, which has ended, did not keep, as text; empty if it kept everything."""
    record = world.record
    run = RunRecord(fakerun_version=fakerun.__version__, torch_version=record.torch_version, ranks=(record,))
    return told_of("the test", build_report(world.job, run, budgets, is_of_simulated=True))
