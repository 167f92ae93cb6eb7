"""Text that was made of followed numbers: what is between them, and which numbers they are.

Printing and logging it is harmless, and C reads it unseen. A comparison is a test of the number in it. What else the program
does with it is not followed, and is said so.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, SupportsIndex

from fakerun.emulate.rank_tracking.expressions import Expression
from fakerun.emulate.rank_tracking.tracker import RankTracker, active, note
from fakerun.records.rank_function import RankOperation

Parts = tuple["str | Expression", ...]


class RankText(str):
    """A text that depends on the rank. `parts` are texts and integers as `str` writes them; None if it was made in another way."""

    __slots__ = ("parts",)

    parts: Parts | None

    def __new__(cls, *args: Any, **more: Any) -> Any:
        """Others make plain ones."""
        return str(*args, **more)

    @classmethod
    def of(cls, text: str, parts: Parts | None) -> "RankText":
        made = str.__new__(cls, text)
        made.parts = parts
        if active.tracker is not None:
            active.tracker.file_names.add(text, None if parts is None else [isinstance(part, Expression) or part for part in parts])
        return made

    @property
    def plain(self) -> str:
        return str.__str__(self)

    @property
    def number(self) -> Expression | None:
        """The integer, if it is nothing but one."""
        parts = self.parts
        return parts[0] if parts is not None and len(parts) == 1 and isinstance(parts[0], Expression) else None

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> Any:
        outcome = str.__eq__(self, other)
        if outcome is not NotImplemented and active.tracker is not None:
            report_equality(self, str(other), active.tracker, sys._getframe(1), other_parts=getattr(other, "parts", None))
        return outcome

    def __ne__(self, other: object) -> Any:
        outcome = str.__ne__(self, other)
        if outcome is not NotImplemented and active.tracker is not None:
            report_equality(self, str(other), active.tracker, sys._getframe(1), other_parts=getattr(other, "parts", None))
        return outcome

    def __add__(self, other: str) -> str:
        return joined(self, other) if isinstance(other, str) else NotImplemented

    def __radd__(self, other: str) -> str:
        return joined(other, self) if isinstance(other, str) else NotImplemented

    def __reduce_ex__(self, protocol: Any) -> Any:
        return str, (self.plain,)

    def __format__(self, specification: str) -> str:
        return self if not specification else RankText.of(format(self.plain, specification), None)

    def strip(self, characters: str | None = None, /) -> str:
        """A number has no spaces around it."""
        if self.number is not None and characters is None:
            return self
        note("text")
        return self.plain.strip(characters)

    def partition(self, separator: str, /) -> tuple[str, str, str]:
        """`--local-rank=3` into the option and the number: the separator is before the first number."""
        first = self.parts[0] if self.parts else None
        if not isinstance(first, str) or separator not in first:
            note("text")
            return self.plain.partition(separator)
        before, found, after = first.partition(separator)
        rest = (after, *(self.parts or ())[1:]) if after else (self.parts or ())[1:]
        return before, found, RankText.of(self.plain[len(before) + len(found) :], rest)

    def split(self, separator: str | None = None, maxsplit: SupportsIndex = -1) -> list[str]:
        """As `partition` where it is split once."""
        if separator is not None and maxsplit == 1 and self.parts and isinstance(self.parts[0], str) and separator in self.parts[0]:
            before, _, rest = self.partition(separator)
            return [before, rest]
        note("text")
        return self.plain.split(separator, maxsplit)


def joined(*parts: str) -> str:
    """The parts, one after the other: plain text if all of them are."""
    text = "".join(parts)
    if not any(type(part) is RankText for part in parts):
        return text
    known: list[str | Expression] = []
    for part in parts:
        if type(part) is not RankText:
            known.append(str(part))
        elif part.parts is None:
            return RankText.of(text, None)
        else:
            known += part.parts
    return RankText.of(text, tuple(known))


def report_equality(text: RankText, other: str, tracker: RankTracker, frame: FrameType, *, other_parts: Parts | None = None) -> None:
    """Report a comparison of the text with another as the test of the number in it."""
    if other_parts is not None and other_parts == text.parts:
        return
    numbers = [] if text.parts is None else [part for part in text.parts if isinstance(part, Expression)]
    if other_parts is not None or len(numbers) != 1 or text.parts is None:
        tracker.unfollowed("text", frame)
        return
    number = number_in(text, other)
    if number is not None:
        value = number_in(text, text.plain)
        tracker.test(RankOperation.EQ, numbers[0], tracker.expressions.constant(number), int(value == number), frame)


def number_in(text: RankText, other: str) -> int | None:
    """The number for which the text, which has one number, would be the other one; None if there is none."""
    parts = text.parts or ()
    place = next(place for place, part in enumerate(parts) if isinstance(part, Expression))
    before, after = ("".join(str(part) for part in some) for some in (parts[:place], parts[place + 1 :]))
    if len(other) < len(before) + len(after) or not (other.startswith(before) and other.endswith(after)):
        return None
    digits = other[len(before) : len(other) - len(after)]
    try:
        return int(digits) if str(int(digits)) == digits else None
    except ValueError:
        return None


def _unfollowed(name: str) -> Callable[..., Any]:
    plain = getattr(str, name)

    def method(self: RankText, *args: Any, **more: Any) -> Any:
        note("text")
        return plain(self.plain, *args, **more)

    return method


for _name in (
    *("__contains__", "__ge__", "__getitem__", "__gt__", "__iter__", "__le__", "__lt__", "capitalize", "casefold", "center", "count"),
    *("encode", "endswith", "find", "index", "isdigit", "ljust", "lower", "lstrip", "removeprefix", "removesuffix", "replace", "rfind"),
    *("rindex", "rjust", "rpartition", "rsplit", "rstrip", "splitlines", "startswith", "swapcase", "title", "translate", "upper", "zfill"),
):
    setattr(RankText, _name, _unfollowed(_name))
