"""Whose code a frame is, how places in it are named, and tracebacks from which fakerun's frames are gone."""

import importlib
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile
from pathlib import Path
from types import FrameType, TracebackType
from typing import TypeVar

import fakerun

Call = TypeVar("Call")


def _directory(path: str) -> str:
    return os.path.join(os.path.realpath(path), "")  # noqa: PTH118


_OURS = _directory(str(Path(fakerun.__file__).parent))
_PYTHONS = tuple(_directory(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_INSTALLED = tuple(_directory(sysconfig.get_path(name)) for name in ("purelib", "platlib"))
_IMPORT_MACHINERY = ("<frozen importlib", "<frozen runpy", _directory(str(Path(importlib.__file__).parent)))


def is_ours(filename: str) -> bool:
    """Whether a code object's file is part of fakerun."""
    return os.path.realpath(filename).startswith(_OURS)


class Places:
    """Names places in the user's code as `file:line`: the file relative to the directory that the job was started in, else to the
    script's, else by its name alone.

    The user's code is what is neither fakerun's, nor torch's, nor Python's own, nor installed. Where no frame is the user's, the
    innermost one in an installed package stands in: the program itself may be one.
    """

    def __init__(self, working_directory: str, script_directory: str) -> None:
        self._bases = (*(_directory(path) for path in (working_directory, script_directory)), *_INSTALLED)

    def name(self, filename: str, line: int | None) -> str:
        path = os.path.realpath(filename)
        base = next((base for base in self._bases if path.startswith(base)), None)
        return f"{Path(path).name if base is None else path.removeprefix(base)}:{line or 0}"

    def innermost(self, frames: Iterable[tuple[FrameType, int]]) -> str | None:
        """The place that frames with their lines, outermost first, end in."""
        users = installed = None
        for frame, line in frames:
            filename = frame.f_code.co_filename
            if _is_users(filename):
                users = filename, line
            elif _is_installed(filename):
                installed = filename, line
        found = users or installed
        return self.name(*found) if found is not None else None


def _is_users(filename: str) -> bool:
    return not filename.startswith("<") and not os.path.realpath(filename).startswith((_OURS, *_torchs(), *_PYTHONS, *_INSTALLED))


def _is_installed(filename: str) -> bool:
    return os.path.realpath(filename).startswith(_INSTALLED) and not os.path.realpath(filename).startswith((_OURS, *_torchs()))


def _torchs() -> tuple[str, ...]:
    """Where torch lies, which need not be among the installed packages; nowhere if the script ended before torch was imported."""
    torch = sys.modules.get("torch")
    return () if torch is None or torch.__file__ is None else (_directory(str(Path(torch.__file__).parent)),)


def stack_of(frame: FrameType | None) -> list[tuple[FrameType, int]]:
    """The calls that led to a frame that is running, outermost first, without fakerun's."""
    calls = [] if frame is None else list(traceback.walk_stack(frame))
    return _peeled(calls[::-1], lambda call: call[0].f_code.co_filename)


def peel(error: BaseException) -> None:
    """Take fakerun's frames out of the traceback of `error` and of every exception that is chained to it or grouped in it.

    An exception that fakerun raised and caught itself on the way goes altogether, unless a `from` names it as the cause.
    """
    for each in chain(error):
        each.__traceback__ = _linked(_peeled(_entries(each.__traceback__), lambda entry: entry.tb_frame.f_code.co_filename))
        if each.__context__ is not each.__cause__:
            suppressed = each.__suppress_context__
            each.__context__ = _first_users(each.__context__)
            each.__suppress_context__ = suppressed


def raised_by_us(error: BaseException) -> bool:
    """Whether the frame that raised is fakerun's, and the script had called it."""
    filenames = [entry.tb_frame.f_code.co_filename for entry in _entries(error.__traceback__)]
    return bool(filenames) and is_ours(filenames[-1]) and not all(map(is_ours, filenames))


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it is chained to and what it groups, each once."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += (each.__context__, each.__cause__)
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions


def _first_users(context: BaseException | None) -> BaseException | None:
    while context is not None and _caught_by_us(context):
        context = context.__context__
    return context


def _caught_by_us(error: BaseException) -> bool:
    """A traceback begins in the frame that caught the exception."""
    return error.__traceback__ is not None and is_ours(error.__traceback__.tb_frame.f_code.co_filename)


def _peeled(calls: Iterable[Call], filename: Callable[[Call], str]) -> list[Call]:
    """Calls, outermost first, without fakerun's, and without those by which Python found fakerun, and fakerun the program."""
    kept = [call for call in calls if not is_ours(filename(call))]
    return list(dropwhile(lambda call: filename(call).startswith(_IMPORT_MACHINERY), kept))


def _linked(entries: Iterable[TracebackType]) -> TracebackType | None:
    result = None
    for entry in reversed(list(entries)):
        result = TracebackType(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return result


def _entries(entry: TracebackType | None) -> Iterator[TracebackType]:
    while entry is not None:
        yield entry
        entry = entry.tb_next
