"""What rewritten modules call instead of the operations of Python that would read a followed number unseen.

Each does what the operation does; the names are those by which `rewriting.py` calls them. The caller is the program's own frame.
"""

import functools
import itertools
import json
import math
import re
import sys
from collections.abc import Callable
from typing import Any

import torch

from fakerun.emulate.rank_tracking.devices import ComparedDevice, is_own_device, text_of_device
from fakerun.emulate.rank_tracking.native_calls import observed
from fakerun.emulate.rank_tracking.tables import MAX_CLASSES, is_followed, plain, read, report_value
from fakerun.emulate.rank_tracking.tables import contains as _contains
from fakerun.emulate.rank_tracking.text import RankText, joined
from fakerun.emulate.rank_tracking.tracker import active, note
from fakerun.emulate.rank_tracking.values import FOLLOWED, RankFloat, RankInt, follow, whole
from fakerun.records.rank_function import RankOperation

__all__ = [
    *(
        "callee",
        "compared",
        "contains",
        "get_device",
        "index_of",
        "item",
        "join",
        "key",
        "method",
        "percent",
        "seed",
        "set_of",
        "slice_of",
        "written",
    ),
]

join = joined
key = plain
slice_of = slice


def contains(value: Any, collection: Any) -> bool:
    """`value in collection`."""
    if active.tracker is not None and is_followed(value):
        return _contains(collection, value, active.tracker, sys._getframe(1))
    return value in collection


def item(table: Any, place: Any) -> Any:
    """`table[place]`."""
    if active.tracker is not None and is_followed(place):
        return read(table, place, table.__getitem__, active.tracker, sys._getframe(1))
    return table[place]


def set_of(*entries: Any) -> set[Any]:
    """`{a, b}`."""
    if any(map(is_followed, entries)):
        note("index")
    return {*entries}


def index_of(owner: Any) -> Any:
    """`owner.index`. A device's is the number that the rank has on its node, where it is the same: no device knows what it was made of."""
    found, tracker = owner.index, active.tracker
    if tracker is None or type(owner) is not torch.device or not is_own_device(owner):
        return found
    return follow(found, tracker.expressions.leaf(RankOperation.LOCAL_RANK), tracker, sys._getframe(1))


def compared(value: Any) -> Any:
    """One side of `a == b`: of a device one that reports what it is compared with."""
    if type(value) is not torch.device or not is_own_device(value):
        return value
    return ComparedDevice(value)


def get_device(owner: Any, *args: Any, **more: Any) -> Any:
    """`owner.get_device()`, of a tensor."""
    return index_of(owner.device) if isinstance(owner, torch.Tensor) and owner.device.type != "cpu" else owner.get_device(*args, **more)


def written(value: Any) -> Any:
    """A value that a formatted text contains."""
    return text_of_device(value) if type(value) is torch.device else value


def percent(text: Any, values: Any) -> Any:
    """`text % values`."""
    written = text % values
    parts = values if isinstance(values, tuple) else values.values() if isinstance(values, dict) else (values,)
    return RankText.of(written, None) if any(map(is_followed, parts)) else written


def seed(value: Any) -> Any:
    """The seed of random numbers."""
    if is_followed(value):
        note("seed")
        return plain(value)
    return value


def callee(function: Any) -> Any:
    """What is called where the program calls a function: one that follows its arguments, or reports those that it reads unseen."""
    # Other callables may have a hash of the program's own, or none.
    following = _FUNCTIONS.get(function) if type(function) in _HASHED else None
    return observed(function) if following is None else following


def method(owner: Any, name: str) -> Any:
    """A method of an object where it is called: of Python's own collections and texts one that follows its arguments."""
    own: Callable[..., Any] = getattr(owner, name)
    if type(own) is not _BUILTIN_METHOD:
        return own
    following = _METHODS.get((type(owner), name))
    if following is None:
        return observed(own)
    if following in (_joined, _compared):
        return functools.partial(following, own)

    def follows(*args: Any, **more: Any) -> Any:
        if active.tracker is None or not (any(map(is_followed, args)) or any(map(is_followed, more.values()))):
            return own(*args, **more)
        return following(own, *args, **more)

    return follows


def _get(own: Any, wanted: Any, *default: Any) -> Any:
    assert active.tracker is not None
    answer = default[0] if default else None
    return read(own.__self__, wanted, lambda place: own(place, *default), active.tracker, sys._getframe(2), default=answer)


def _pop(own: Any, wanted: Any, *default: Any) -> Any:
    assert active.tracker is not None
    answer = {"default": default[0]} if default else {}
    return read(own.__self__, wanted, lambda place: own(place, *default), active.tracker, sys._getframe(2), **answer)


def _index(own: Any, value: Any, *bounds: Any) -> Any:
    """`table.index(rank)`: the place goes on as a function of the rank."""
    place, tracker = own(plain(value), *map(plain, bounds)), active.tracker
    table = own.__self__
    assert tracker is not None
    if bounds or not isinstance(value, FOLLOWED) or not all(type(entry) is int for entry in table):
        tracker.unfollowed("index", sys._getframe(2))
        return place
    return follow(place, tracker.expressions.unary(RankOperation.ITEM, value.expression, tuple(table)), tracker, sys._getframe(2))


def _count(own: Any, value: Any) -> Any:
    assert active.tracker is not None
    _contains(own.__self__, value, active.tracker, sys._getframe(2))
    return own(plain(value))


def _text(own: Any, *args: Any, **more: Any) -> Any:
    return RankText.of(own(*args, **more), None)


def _joined(own: Any, parts: Any) -> Any:
    texts = list(parts)
    if not any(type(text) is RankText for text in texts):
        return own(texts)
    between = [own.__self__] * (2 * len(texts) - 1)
    between[::2] = texts
    return joined(*between)


def _compared(own: Any, *others: Any) -> Any:
    """A set that C compares with the entries of other collections."""
    small = [other for other in others if isinstance(other, _SMALL) and len(other) <= MAX_CLASSES]
    if any(any(map(is_followed, other)) for other in small):
        note("index")
    return own(*others)


_SMALL = (list, tuple, set, frozenset)


def _set(kind: Any, *entries: Any) -> Any:
    """`set(entries)`."""
    if entries and isinstance(entries[0], _SMALL) and len(entries[0]) <= MAX_CLASSES and any(map(is_followed, entries[0])):
        note("index")
    return kind(*entries)


def _computed(own: Any, *numbers: Any) -> Any:
    """What C computes of numbers."""
    if any(map(is_followed, numbers)):
        note("argument")
        return own(*map(plain, numbers))
    return own(*numbers)


def _written(own: Any, number: Any) -> Any:
    """What C writes of a number."""
    return RankText.of(own(plain(number)), None) if is_followed(number) else own(number)


def _searched(own: Any, *args: Any, **more: Any) -> Any:
    """A text in which C looks for a pattern."""
    if any(map(is_followed, args)):
        note("text")
    return own(*args, **more)


def _int(value: Any = 0, *base: Any, **more: Any) -> Any:
    frame, tracker = sys._getframe(1), active.tracker
    if type(value) is RankInt:
        return value
    if type(value) is RankFloat:
        return whole(value, frame)
    if type(value) is RankText and tracker is not None:
        text = value.plain
        if value.number is not None and not base and not more:
            return follow(int(text), value.number, tracker, frame)
        tracker.unfollowed("text", frame)
        return int(text, *base, **more)
    return int(value, *base, **more)


def _float(value: Any = 0.0) -> Any:
    if type(value) is RankText:
        value = _int(value)
    if type(value) is RankInt and active.tracker is not None:
        expressions = active.tracker.expressions
        divided = expressions.binary(RankOperation.TRUEDIV, value.expression, expressions.constant(1))
        return follow(float(value.plain), divided, active.tracker, sys._getframe(1))
    return value if type(value) is RankFloat else float(value)


def _str(*args: Any, **more: Any) -> Any:
    if len(args) != 1 or more:
        return str(*args, **more)
    value = args[0]
    if type(value) is RankText:
        return value
    return text_of_device(value) if type(value) is torch.device else _text_of(str(value), value)


def _repr(value: Any) -> Any:
    return _text_of(repr(value), value)


def _text_of(written: str, value: Any) -> str:
    """What was written of a value; of a collection with followed entries it is a text that is not followed."""
    entries = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
    return RankText.of(written, None) if len(entries) <= MAX_CLASSES and any(map(is_followed, entries)) else written


def _dumped(value: Any, **more: Any) -> str:
    """`json.dumps(value)`: a text that is not followed if C may have read a followed number."""
    text = json.dumps(value, **more)
    return RankText.of(text, None) if _has_followed(value, 8) else text


def _has_followed(value: Any, depth: int) -> bool:
    entries = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
    if entries is None or not depth or len(entries) > MAX_CLASSES:
        return is_followed(value)
    return any(_has_followed(entry, depth - 1) for entry in entries)


def _loaded(text: Any, **more: Any) -> Any:
    """`json.loads(text)`, which C reads."""
    if is_followed(text):
        note("text")
    return json.loads(text, **more)


def _map(function: Any, *iterables: Any) -> Any:
    return map(callee(function), *iterables)


def _type(*args: Any, **more: Any) -> Any:
    kind = type(*args, **more)
    return _PLAIN_TYPES.get(kind, kind) if len(args) == 1 else kind


def _range(*bounds: Any) -> range:
    """A range: how many numbers it has is tested; which ones they are is not followed."""
    made, tracker = range(*map(plain, bounds)), active.tracker
    if tracker is None or not any(map(is_followed, bounds)):
        return made
    frame = sys._getframe(1)
    start, stop = (0, bounds[0]) if len(bounds) == 1 else bounds[:2]
    step = 1 if len(bounds) < 3 else bounds[2]
    # As many as -((start - stop) // step).
    length = -((start - stop) // step)
    if isinstance(length, FOLLOWED):
        report_value(length.expression, length.plain, tracker, frame)
    if is_followed(start) or is_followed(step):
        tracker.unfollowed("index", frame)
    return made


def _islice(iterable: Any, *bounds: Any) -> Any:
    if any(map(is_followed, bounds)):
        note("index")
    return itertools.islice(iterable, *map(plain, bounds))


_BUILTIN_METHOD: type = type([].append)
_HASHED = (type, _BUILTIN_METHOD, type(callee))

_FUNCTIONS: dict[Any, Callable[..., Any]] = {
    int: _int,
    float: _float,
    str: _str,
    repr: _repr,
    map: _map,
    json.dumps: _dumped,
    json.loads: _loaded,
    type: _type,
    range: _range,
    itertools.islice: _islice,
    **{kind: functools.partial(_set, kind) for kind in (set, frozenset)},
    **{write: functools.partial(_written, write) for write in (bin, hex, oct, chr)},
    **{search: functools.partial(_searched, search) for search in (re.match, re.fullmatch, re.search)},
    **{
        compute: functools.partial(_computed, compute)
        for compute in (
            *(math.gcd, math.lcm, math.log, math.log2, math.log10),
            *(math.isqrt, math.factorial, math.comb, math.perm),
        )
    },
}

_PLAIN_TYPES: dict[type, type] = {RankInt: int, RankFloat: float, RankText: str}

_METHODS: dict[tuple[type, str], Callable[..., Any]] = {
    (dict, "get"): _get,
    (dict, "setdefault"): _get,
    (dict, "pop"): _pop,
    (list, "pop"): _pop,
    (list, "index"): _index,
    (tuple, "index"): _index,
    (list, "count"): _count,
    (tuple, "count"): _count,
    (str, "format"): _text,
    (str, "join"): _joined,
    **{
        (kind, name): _compared
        for kind in (set, frozenset)
        for name in ("isdisjoint", "issubset", "issuperset", "intersection", "difference")
    },
}
