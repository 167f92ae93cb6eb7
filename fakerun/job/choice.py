"""A member of an enumeration by the name that the user gives."""

from enum import StrEnum
from typing import TypeVar

from fakerun.errors import UsageError
from fakerun.spelling import did_you_mean

Choice = TypeVar("Choice", bound=StrEnum)


def choice_named(kind: type[Choice], what: str, name: str) -> Choice:
    """The member with this name; `what` is what the user chooses, as messages call it.

    Raises:
        UsageError: the name is unknown; the message offers the nearest ones and lists all.
    """
    known = [member.value for member in kind]
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}")
    return kind(name)
