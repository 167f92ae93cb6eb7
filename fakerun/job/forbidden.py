"""The operations that a script must not issue (`--error-on-collective`), as they are written."""

from collections.abc import Iterable

from fakerun.errors import UsageError
from fakerun.records.collective import CollectiveOp
from fakerun.spelling import did_you_mean

EVERY_OPERATION = tuple(CollectiveOp)

_SWITCHES = {"all": EVERY_OPERATION, "1": EVERY_OPERATION, "true": EVERY_OPERATION, "0": (), "false": ()}
"""Spellings of all and none, as for other options that are on or off."""


def parse_forbidden(text: str) -> tuple[CollectiveOp, ...]:
    """Operations as the user writes them: `all`, or a list such as `all_reduce,send`.

    Raises:
        UsageError: no operation is named, or one that is not known.
    """
    switched = _SWITCHES.get(text.strip().lower())
    if switched is not None:
        return switched
    if not text.strip():
        raise UsageError("no operation given; leave out the value to forbid all, or list some as in all_reduce,send")
    return operations_named(part.strip() for part in text.split(","))


def operations_named(names: Iterable[str]) -> tuple[CollectiveOp, ...]:
    """The operations of these names, each once, in the order in which they are always listed.

    Raises:
        UsageError: one of them is not known.
    """
    named = set(names)
    known = [op.value for op in CollectiveOp]
    for name in sorted(named.difference(known)):
        raise UsageError(f"unknown operation {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    return tuple(op for op in CollectiveOp if op in named)
