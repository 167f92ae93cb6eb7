"""Events of the Trace Event format as lines of text; times are whole microseconds.

Readers lay events of one thread out as a stack, so that of two that overlap one must contain the other: rounding keeps the order of times,
and what contains comes first. Fractions of a microsecond would be correct JSON, but HolisticTraceAnalysis then shortens every event to
whole ones.
"""

import json
from collections.abc import Mapping
from typing import TypeAlias

Args: TypeAlias = Mapping[str, object]

CATEGORY_OF_FLOWS = "ac2g"
"""What Kineto calls the arrows from the launch of a kernel to the kernel (asynchronous CPU to GPU)."""


def written(value: object) -> str:
    """Any value as JSON on one line."""
    return json.dumps(value)


def members(args: Args) -> str:
    """The members of an object without its braces, for `complete`; they can be written once and used for many events."""
    return written(args)[1:-1]


def complete(category: str, name: str, pid: int, tid: int, start: int, end: int, *args: str) -> str:
    """Something that lasts from `start` to `end`. `name` is written JSON, `args` are what `members` returns."""
    inside = ", ".join(filter(None, args))
    return (
        f'{{"ph": "X", "cat": "{category}", "name": {name}, "pid": {pid}, "tid": {tid}, "ts": {start}, "dur": {end - start}'
        f', "args": {{{inside}}}}}'
    )


def flow_start(number: int, pid: int, tid: int, at: int) -> str:
    """The tail of an arrow: it belongs to the event of the thread that lasts at this time."""
    return f'{{"ph": "s", "id": {number}, "pid": {pid}, "tid": {tid}, "ts": {at}, "cat": "{CATEGORY_OF_FLOWS}", "name": "ac2g"}}'


def flow_end(number: int, pid: int, tid: int, at: int) -> str:
    """Its head."""
    return f'{{"ph": "f", "id": {number}, "pid": {pid}, "tid": {tid}, "ts": {at}, "cat": "{CATEGORY_OF_FLOWS}", "name": "ac2g", "bp": "e"}}'


def counter(name: str, pid: int, at: int, args: Args) -> str:
    """Values that hold until the next event of this name."""
    return f'{{"ph": "C", "name": {written(name)}, "pid": {pid}, "tid": {pid}, "ts": {at}, "args": {written(args)}}}'


def instant(name: str, pid: int, at: int) -> str:
    """A mark of the whole process."""
    return f'{{"ph": "i", "s": "p", "name": {written(name)}, "pid": {pid}, "tid": {pid}, "ts": {at}}}'


def about(what: str, pid: int, tid: int, args: Args) -> str:
    """A name, a label or the place of a process or thread: `process_name`, `thread_sort_index`."""
    return f'{{"ph": "M", "name": "{what}", "pid": {pid}, "tid": {tid}, "ts": 0, "args": {written(args)}}}'
