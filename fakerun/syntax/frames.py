"""The frames of the program, as it would have them without fakerun, as far as they say where a value goes."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from itertools import islice
from types import CodeType, FrameType

from fakerun.call_site import Owner, owner

_COMPREHENSIONS = ("<genexpr>", "<listcomp>", "<setcomp>", "<dictcomp>")
"""Python 3.11 runs comprehensions, and every version generator expressions, in frames of their own."""

_DISPATCH = ("_ops.py", "overrides.py", "_stats.py")
"""Torch's Python side of calling an operator, where the real run is in C++."""


def program_frames(most: int) -> tuple[FrameType, ...]:
    """Up to that many frames of the program, innermost first: those of neither fakerun nor torch's dispatch."""
    return tuple(islice(_program_frames(sys._getframe(1)), most))  # noqa: SLF001


def is_comprehension(code: CodeType) -> bool:
    """Whether the code is that of a comprehension, which belongs to the function around it."""
    return code.co_name in _COMPREHENSIONS


def _program_frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        if _is_programs(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


@cache
def _is_programs(filename: str) -> bool:
    whose = owner(filename)
    if whose is Owner.TORCH:
        return os.path.basename(filename) not in _DISPATCH and f"{os.sep}_subclasses{os.sep}" not in filename  # noqa: PTH119
    return whose is not Owner.FAKERUN and not filename.startswith("<frozen")
