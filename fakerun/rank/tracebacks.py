"""Tracebacks as a real run would show them: without the frames that are there only because the script is simulated.

And the question that has to be answered before they go: whether fakerun itself has gone wrong.
"""

import dis
import importlib
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import dropwhile
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import TypeVar

from fakerun.call_site import Owner, directory, owner
from fakerun.errors import FakerunError, is_script_error

Call = TypeVar("Call")

_IMPORT_MACHINERY = ("<frozen importlib", "<frozen runpy", directory(Path(importlib.__file__).parent))
_MISTAKES = (TypeError, KeyError, AttributeError, NameError)
"""What goes wrong in a call because the caller is wrong; torch's C++ raises other classes, or is called with the script's own arguments."""


def stack_of(frame: FrameType | None) -> list[tuple[FrameType, int]]:
    """The calls that led to a frame that is running, outermost first, as a real run would have made them."""
    calls = [] if frame is None else list(traceback.walk_stack(frame))
    return _stripped(calls[::-1], lambda call: call[0].f_code)


def calls_of(error: BaseException) -> Iterator[tuple[str, int, str | None]]:
    """File name, line and function of each call in the error's traceback, outermost first."""
    return ((frame.f_code.co_filename, line, frame.f_code.co_qualname) for frame, line in traceback.walk_tb(error.__traceback__))


def strip_simulation(error: BaseException) -> None:
    """Take the simulation's frames out of the traceback of `error` and of every exception that is chained to it or grouped in it.

    An exception that the simulation raised and caught itself on the way goes altogether, unless fakerun names it with `from`.
    """
    for each in chain(error):
        entries = list(_entries(each.__traceback__))
        kept = _stripped(entries, lambda entry: entry.tb_frame.f_code)
        each.__traceback__ = _linked(kept)
        gone = {id(entry.tb_frame) for entry in entries} - {id(entry.tb_frame) for entry in kept}
        if each.__context__ is not each.__cause__:
            suppressed = each.__suppress_context__
            each.__context__ = _first_users(each.__context__, gone)
            each.__suppress_context__ = suppressed


def came_through_fakerun(error: BaseException) -> bool:
    """Whether code of fakerun's ran on behalf of the script when the error was raised."""
    return any(owner(file) is Owner.FAKERUN for file, *_ in dropwhile(lambda call: owner(call[0]) is not Owner.USER, calls_of(error)))


def is_our_fault(error: BaseException) -> bool:
    """Whether fakerun's own code went wrong while the script was using it.

    Not so if the error was raised on purpose, or came out of native code to which fakerun had only handed on the script's call.
    """
    entries = list(_entries(error.__traceback__))
    if not entries or not isinstance(error, Exception) or isinstance(error, FakerunError) or is_script_error(error):
        return False
    ours = [_is_ours(entry.tb_frame.f_code) for entry in entries]
    return ours[-1] and not all(ours) and not _handed_on(entries[-1], error)


def _handed_on(entry: TracebackType, error: Exception) -> bool:
    """Whether the error came out of a call into native code (which has no frame) that fakerun did not make on its own behalf."""
    instruction = dis.opname[entry.tb_frame.f_code.co_code[entry.tb_lasti]]
    if instruction == "CALL_FUNCTION_EX":  # f(*args, **kwargs): the script's arguments
        return True
    if instruction.startswith("CALL"):
        return not isinstance(error, _MISTAKES)
    # An attribute or an operator of torch's; Python's own raise no RuntimeError.
    return instruction != "RAISE_VARARGS" and isinstance(error, RuntimeError)


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


def _first_users(context: BaseException | None, gone: set[int]) -> BaseException | None:
    while context is not None and _caught_inside(context, gone):
        context = context.__context__
    return context


def _caught_inside(error: BaseException, gone: set[int]) -> bool:
    """A traceback begins in the frame that caught the exception: one of fakerun's, or one that a real run does not have."""
    entry = error.__traceback__
    return entry is not None and (_is_ours(entry.tb_frame.f_code) or id(entry.tb_frame) in gone)


def _stripped(calls: Iterable[Call], code_of: Callable[[Call], CodeType]) -> list[Call]:
    """Calls, outermost first, without fakerun's and those by which Python found fakerun, and without torch's own that lead to
    fakerun's and, in the place of a kernel, from it.
    """
    kept: list[Call] = []
    called_by_us = in_kernel = False
    for call in calls:
        code = code_of(call)
        whose = owner(code.co_filename)
        if whose is Owner.FAKERUN:
            _take_detour_back(kept, code_of)
            called_by_us = True
            in_kernel = in_kernel or code.co_name == "__torch_dispatch__"
            continue
        in_kernel = in_kernel and whose is not Owner.USER  # a higher-order operator, or one that the user gave a fake kernel
        if in_kernel or (called_by_us and _is_dispatch(code)):
            continue
        called_by_us = False
        kept.append(call)
    return list(dropwhile(lambda call: code_of(call).co_filename.startswith(_IMPORT_MACHINERY), kept))


def _take_detour_back(kept: list[Call], code_of: Callable[[Call], CodeType]) -> None:
    """Without fakerun's torch-function mode, a torch function runs; with it, it calls the mode, which calls it again."""
    if kept and code_of(kept[-1]).co_name == "handle_torch_function" and _in_torch(code_of(kept[-1]), "overrides.py"):
        kept.pop()
        if kept and owner(code_of(kept[-1]).co_filename) is Owner.TORCH:
            kept.pop()


def _is_dispatch(code: CodeType) -> bool:
    """Torch's Python side of calling an operator, where the real run is in C++."""
    return _in_torch(code, "_ops.py", "_stats.py") or (_in_torch(code) and f"{os.sep}_subclasses{os.sep}" in code.co_filename)


def _in_torch(code: CodeType, *names: str) -> bool:
    return owner(code.co_filename) is Owner.TORCH and (not names or Path(code.co_filename).name in names)


def _is_ours(code: CodeType) -> bool:
    return owner(code.co_filename) is Owner.FAKERUN


def _linked(entries: Iterable[TracebackType]) -> TracebackType | None:
    result = None
    for entry in reversed(list(entries)):
        result = TracebackType(result, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return result


def _entries(entry: TracebackType | None) -> Iterator[TracebackType]:
    while entry is not None:
        yield entry
        entry = entry.tb_next
