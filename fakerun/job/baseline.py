"""The `baseline` of a job file: the file of what the job is known to do, and how far it may be from that."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from fakerun.errors import UsageError
from fakerun.hardware.quantities import BYTES
from fakerun.job.tolerances import DEFAULT_TOLERANCES, EXACT, Tolerance, Tolerances
from fakerun.job.validation import shown
from fakerun.spelling import did_you_mean

QUANTITIES = tuple(field.name for field in fields(Tolerances))
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%")


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineOfJob:
    """What a job file says of its baseline; `path` is as it was written, None where only tolerances are given."""

    path: str | None = None
    tolerances: Tolerances = DEFAULT_TOLERANCES


def baseline_of_job(value: object) -> BaselineOfJob:
    """A path, or a mapping `{path, tolerances}`.

    Raises:
        UsageError: it is neither, or a tolerance is none.
    """
    if isinstance(value, str) and value:
        return BaselineOfJob(path=value)
    if not isinstance(value, dict):
        raise UsageError(f"must be the path of a file, or a mapping with path and tolerances, not {shown(value)}")
    unknown = next((key for key in value if key not in ("path", "tolerances")), None)
    if unknown is not None:
        raise UsageError(f"unknown key {unknown}{did_you_mean(unknown, ('path', 'tolerances'))}; allowed: path, tolerances")
    path = value.get("path")
    if path is not None and (not isinstance(path, str) or not path):
        raise UsageError(f"path: must be the path of a file, not {shown(path)}")
    return BaselineOfJob(path=path, tolerances=_tolerances(value.get("tolerances", {})))


def _tolerances(value: object) -> Tolerances:
    if not isinstance(value, dict):
        raise UsageError(f"tolerances: must be a mapping, as in {{allocated: 2%}}, not {shown(value)}")
    unknown = next((key for key in value if key not in QUANTITIES), None)
    if unknown is not None:
        raise UsageError(f"tolerances: unknown quantity {unknown}{did_you_mean(unknown, QUANTITIES)}; allowed: {', '.join(QUANTITIES)}")
    return _with({quantity: parse_tolerance(f"tolerances.{quantity}", tolerance) for quantity, tolerance in value.items()})


def _with(given: Mapping[str, Tolerance]) -> Tolerances:
    default = DEFAULT_TOLERANCES
    return Tolerances(
        allocated=given.get("allocated", default.allocated),
        reserved=given.get("reserved", default.reserved),
        categories=given.get("categories", default.categories),
        modules=given.get("modules", default.modules),
        parameters=given.get("parameters", default.parameters),
        messages=given.get("messages", default.messages),
    )


def parse_tolerance(what: str, value: object) -> Tolerance:
    """`exact`, `1%` or `64MiB`; `what` is what it is of, for messages.

    Raises:
        UsageError: it is none of these.
    """
    if value == EXACT.text:
        return EXACT
    text = value if isinstance(value, str) else ""
    if (percent := _PERCENT.fullmatch(text.strip())) is not None:
        return Tolerance(text=text, share=float(percent[1]) / 100)
    try:
        return Tolerance(text=text, nbytes=int(BYTES.parse(text)))
    except UsageError as error:
        raise UsageError(f"{what}: must be exact, a share (2%) or an amount of memory (64MiB), not {shown(value)}") from error
