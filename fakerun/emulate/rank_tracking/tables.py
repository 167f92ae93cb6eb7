"""Reading an entry of a table at a place that depends on the rank, and asking whether such a value is in a collection.

Entries that are numbers go on as functions of the rank. Of others it is a test which of them was read: equal ones count as one, so that a
table of 4,096 flags distinguishes two classes of ranks. A table of more than MAX_CLASSES different entries distinguishes ranks one by one,
and is data: reading it is not followed.
"""

import math
from collections import deque
from collections.abc import Callable, Collection
from functools import reduce
from types import FrameType
from typing import Any

import torch

from fakerun.emulate.rank_tracking.expressions import Expression
from fakerun.emulate.rank_tracking.text import RankText, number_in, report_equality
from fakerun.emulate.rank_tracking.tracker import RankTracker
from fakerun.emulate.rank_tracking.values import FOLLOWED, RankFloat, RankInt, follow
from fakerun.records.rank_function import Number, RankOperation

MAX_CLASSES = 64
"""Different entries of a table, or different slices of one."""

MAX_ENTRIES = 1 << 16
"""Entries of a table that is looked at."""

_LISTS = (list.__getitem__, tuple.__getitem__, str.__getitem__, range.__getitem__)
_KEYS: type = type({}.keys())
_VALUES: type = type({}.values())
_OF_PYTHON: tuple[Any, ...] = (list, tuple, set, frozenset, dict, deque, range, _KEYS)
_COLLECTIONS = tuple(each.__contains__ for each in _OF_PYTHON)


def is_followed(key: Any) -> bool:
    """Whether a key, a slice or a tuple of keys depends on the rank."""
    kind = type(key)
    if kind is RankInt or kind is RankText or kind is RankFloat:
        return True
    if kind is slice:
        return is_followed(key.start) or is_followed(key.stop) or is_followed(key.step)
    return kind is tuple and any(map(is_followed, key))


def plain(key: Any) -> Any:
    """The key as it would be without being followed."""
    kind = type(key)
    if kind is RankInt or kind is RankText or kind is RankFloat:
        return key.plain
    if kind is slice:
        return slice(plain(key.start), plain(key.stop), plain(key.step))
    return tuple(map(plain, key)) if kind is tuple else key


_RAISES: Any = object()


def read(table: Any, key: Any, get: Callable[[Any], Any], tracker: RankTracker, frame: FrameType, *, default: Any = _RAISES) -> Any:
    """`table[key]`, read by `get` and reported. `default` is the answer for a key that is not there, if there is one."""
    getitem = getattr(type(table), "__getitem__", None)
    if isinstance(table, dict) and getitem is dict.__getitem__:
        return _read_dict(table, key, get, tracker, frame, default)
    is_list = getitem in _LISTS or isinstance(table, (torch.nn.ModuleList, torch.nn.Sequential))
    if is_list and type(key) is RankInt:
        return _read_list(table, key, get, tracker, frame)
    if is_list and type(key) is slice and len(table) <= MAX_CLASSES:
        _report_slice(key, tracker, frame)
        return get(plain(key))
    if _is_array(table) and type(key) is RankInt and getattr(table, "ndim", 0) == 1 and len(table) <= MAX_ENTRIES:
        report_entries(table.tolist(), key.expression, int(key), tracker, frame)
        return get(plain(key))
    if isinstance(table, torch.Tensor) and type(key) is slice:
        _report_length(key, tracker, frame)
    if isinstance(table, torch.Tensor) and table.device.type != "cpu":
        return get(plain(key))  # its values are not known on any rank
    if hasattr(getitem, "__code__") and not isinstance(table, torch.Tensor):
        return get(key)  # Python code, in which it is followed
    tracker.unfollowed("index", frame)
    return get(plain(key))


def contains(collection: Any, value: Any, tracker: RankTracker, frame: FrameType) -> bool:
    """`value in collection`, reported, of a value that depends on the rank."""
    contained = getattr(type(collection), "__contains__", None)
    if contained not in _COLLECTIONS and type(collection) is not _VALUES and not _is_array(collection):
        if not hasattr(contained, "__code__"):
            tracker.unfollowed("text" if type(value) is RankText else "index", frame)
            return bool(plain(value) in collection)
        return bool(value in collection)
    outcome = bool(plain(value) in collection)
    if type(collection) is range and type(value) is RankInt:
        _report_range(collection, value, outcome, tracker, frame)
    elif len(collection) > MAX_ENTRIES:
        tracker.unfollowed("index", frame)
    else:
        entries = collection.ravel().tolist() if _is_array(collection) else list(collection)
        _report_membership(entries, value, outcome, tracker, frame)
    return outcome


def report_value(expression: Expression, value: Number, tracker: RankTracker, frame: FrameType) -> None:
    """Report a use of which what the program does depends on the very value."""
    tracker.tested(expression, value, frame)


def _read_list(table: Any, key: RankInt, get: Callable[[Any], Any], tracker: RankTracker, frame: FrameType) -> Any:
    expressions, size = tracker.expressions, len(table)
    if size > MAX_ENTRIES or isinstance(table, RankText):
        tracker.unfollowed("index", frame)
        return get(key.plain)
    tracker.test(RankOperation.LT, key.expression, expressions.constant(size), int(key.plain < size), frame)
    return _entry(get(key.plain), list(table), key.expression, key.plain, tracker, frame)


def _read_dict(table: dict[Any, Any], key: Any, get: Callable[[Any], Any], tracker: RankTracker, frame: FrameType, default: Any) -> Any:
    operand = _number_of(key)
    keys = None if operand is None or len(table) > MAX_ENTRIES else _keys_as_numbers(table, key)
    if operand is None or keys is None:
        tracker.unfollowed("index", frame)
        return get(plain(key))
    numbers, entries = tuple(keys), [table[each] for each in keys.values()]
    if default is _RAISES:
        is_there = plain(key) in table
        tracker.tested(tracker.expressions.unary(RankOperation.IN, operand, numbers), int(is_there), frame)
    value = get(plain(key))
    number = key.plain if isinstance(key, FOLLOWED) else number_in(key, key.plain)
    position = numbers.index(number) if number in numbers else len(entries)
    # What is answered for a key that is not there comes last; where that fails, the test above distinguishes it.
    entries.append(value if default is _RAISES else default)
    return _entry(value, entries, tracker.expressions.unary(RankOperation.ITEM, operand, numbers), position, tracker, frame)


def _keys_as_numbers(table: dict[Any, Any], key: Any) -> dict[Number, Any] | None:
    """The table's keys by the number that a followed key would have to be to be equal to them."""
    if type(key) is RankText:
        by_number = {number_in(key, each): each for each in table if isinstance(each, str)}
        return {number: each for number, each in by_number.items() if number is not None}
    if any(type(each) is RankInt for each in table):
        return None
    return {each: each for each in table if _is_number(each)}


def _entry(value: Any, entries: list[Any], place: Expression, position: int, tracker: RankTracker, frame: FrameType) -> Any:
    """The entry that was read, as a function of the rank if it is a number."""
    for kind in (int, float):
        if type(value) is kind and all(type(entry) is kind and math.isfinite(entry) for entry in entries):
            if all(entry == value for entry in entries):
                return value
            return follow(value, tracker.expressions.unary(RankOperation.LOOKUP, place, tuple(entries)), tracker, frame)
    report_entries(entries, place, position, tracker, frame)
    return value


def report_entries(entries: list[Any], place: Expression, position: int, tracker: RankTracker, frame: FrameType) -> None:
    """Report which of the different entries was read."""
    numbers: dict[Any, int] = {}
    classes = [numbers.setdefault(_identity(entry), len(numbers)) for entry in entries]
    if len(numbers) > MAX_CLASSES or any(_is_unknown(entry) for entry in entries):
        tracker.unfollowed("index", frame)
    elif len(numbers) > 1:
        lookup = tracker.expressions.unary(RankOperation.LOOKUP, place, tuple(classes))
        tracker.tested(lookup, classes[position], frame)


def _identity(entry: Any) -> Any:
    """What two entries have in common if it makes no difference which of them is read."""
    if entry is None or isinstance(entry, (bool, int, float, str, bytes)):
        return type(entry), entry
    if isinstance(entry, torch.Tensor):
        return torch.Tensor, tuple(entry.shape), entry.dtype, entry.device
    if isinstance(entry, (tuple, list)) and len(entry) <= MAX_CLASSES:
        return type(entry), tuple(map(_identity, entry))
    return id(entry)


def _is_unknown(entry: Any) -> bool:
    """Whether another rank has something else in this place, or it is not known what it does with it: its number, a tensor, its group."""
    if isinstance(entry, torch.Tensor):
        return entry.device.type == "cpu"
    return isinstance(entry, (*FOLLOWED, RankText, torch.distributed.ProcessGroup))


def _report_length(key: slice, tracker: RankTracker, frame: FrameType) -> None:
    """How much of a tensor a slice takes; where it begins makes no difference."""
    length = key.stop if key.start is None or key.stop is None else key.stop - key.start
    if type(length) is RankInt:
        report_value(length.expression, length.plain, tracker, frame)


def _report_slice(key: slice, tracker: RankTracker, frame: FrameType) -> None:
    for bound in (key.start, key.stop, key.step):
        if type(bound) is RankInt:
            report_value(bound.expression, bound.plain, tracker, frame)


def _report_range(collection: range, value: RankInt, outcome: bool, tracker: RankTracker, frame: FrameType) -> None:
    expressions = tracker.expressions
    if len(collection) <= MAX_CLASSES:
        tracker.tested(expressions.unary(RankOperation.IN, value.expression, tuple(collection)), int(outcome), frame)
        return
    first, last = sorted((collection[0], collection[-1]))
    constant, test = expressions.constant, tracker.test
    test(RankOperation.GE, value.expression, constant(first), int(value.plain >= first), frame)
    test(RankOperation.LE, value.expression, constant(last), int(value.plain <= last), frame)
    if (step := abs(collection.step)) > 1:
        offset = expressions.binary(
            RankOperation.MOD, expressions.binary(RankOperation.SUB, value.expression, constant(first)), constant(step)
        )
        test(RankOperation.EQ, offset, constant(0), int((value.plain - first) % step == 0), frame)


def _report_membership(entries: Collection[Any], value: Any, outcome: bool, tracker: RankTracker, frame: FrameType) -> None:
    if type(value) is tuple:
        _report_tuple(entries, value, outcome, tracker, frame)
    elif type(value) is RankText and value.number is None:
        for entry in sorted(entry for entry in entries if isinstance(entry, str)):
            report_equality(value, entry, tracker, frame)
    elif (operand := _number_of(value)) is not None:
        for entry in entries:
            if isinstance(entry, FOLLOWED):
                tracker.test(RankOperation.EQ, operand, entry.expression, int(plain(value) == entry.plain), frame)
        if type(value) is RankText:
            numbers = {number_in(value, entry) for entry in entries if isinstance(entry, str)} - {None}
        else:
            numbers = {entry for entry in entries if _is_number(entry) and not isinstance(entry, FOLLOWED)}
        if numbers:
            constants = tuple(sorted(number for number in numbers if number is not None))
            is_among = number_in(value, value.plain) in numbers if type(value) is RankText else value.plain in numbers
            tracker.tested(tracker.expressions.unary(RankOperation.IN, operand, constants), int(is_among), frame)
    else:
        tracker.unfollowed("text", frame)


def _report_tuple(entries: Collection[Any], value: tuple[Any, ...], outcome: bool, tracker: RankTracker, frame: FrameType) -> None:
    """Report whether a tuple, a coordinate of the rank, is one of some tuples of numbers."""
    alike = [entry for entry in entries if type(entry) is tuple and len(entry) == len(value)]
    is_known = all(_is_number(part) for part in (*value, *(part for entry in alike for part in entry)))
    if not is_known or len(alike) > MAX_CLASSES or not value:
        tracker.unfollowed("index", frame)
    elif alike := sorted(alike):
        expressions = tracker.expressions

        def both(one: Expression, other: Expression) -> Expression:
            return expressions.binary(RankOperation.AND, one, other)

        def either(one: Expression, other: Expression) -> Expression:
            return expressions.binary(RankOperation.OR, one, other)

        def equal(one: Any, other: Any) -> Expression:
            return expressions.binary(RankOperation.EQ, _expression(one, tracker), _expression(other, tracker))

        expression = reduce(either, (reduce(both, map(equal, value, entry)) for entry in alike))
        tracker.tested(expression, int(outcome), frame)


def _expression(number: Any, tracker: RankTracker) -> Expression:
    followed: Expression = number.expression if isinstance(number, FOLLOWED) else tracker.expressions.constant(number)
    return followed


def _number_of(key: Any) -> Expression | None:
    """The number that decides what the key is equal to."""
    if type(key) is RankText:
        numbers = [part for part in key.parts or () if isinstance(part, Expression)]
        return numbers[0] if len(numbers) == 1 else None
    return key.expression if isinstance(key, FOLLOWED) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(plain(value))


def _is_array(value: Any) -> bool:
    return type(value).__module__ == "numpy" and hasattr(value, "ravel") and getattr(value.dtype, "kind", "") in "iufb"
