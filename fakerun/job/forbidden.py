"""Parses the operations that a script must not issue (`--error-on-collective`)."""

from collections.abc import Iterable

from fakerun.errors import UsageError
from fakerun.records.collective import CollectiveOp
from fakerun.spelling import did_you_mean

EVERY_OPERATION = tuple(CollectiveOp)

_SWITCHES = {"all": EVERY_OPERATION, "1": EVERY_OPERATION, "true": EVERY_OPERATION, "0": (), "false": ()}
"""Texts for all operations and for none, as for other switches."""


def parse_forbidden(text: str) -> tuple[CollectiveOp, ...]:
    """Operations as the user writes them: `all`, or a list such as `all_reduce,send`.

    Raises:
        UsageError: no operation is given, or an unknown one.
    """
    switched = _SWITCHES.get(text.strip().lower())
    if switched is not None:
        return switched
    if not text.strip():
        raise UsageError("no operation given; leave out the value to forbid all, or list some as in all_reduce,send")
    return operations_named(part.strip() for part in text.split(","))


def operations_named(names: Iterable[str]) -> tuple[CollectiveOp, ...]:
    """The operations with these names, each once, in the order of `CollectiveOp`.

    Raises:
        UsageError: a name is unknown.
    """
    named = set(names)
    known = [op.value for op in CollectiveOp]
    for name in sorted(named.difference(known)):
        raise UsageError(f"unknown operation {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    return tuple(op for op in CollectiveOp if op in named)
