"""Where in its loops a program is, and whether it is still in the same round of one.

A position is read from the running frames: the code of each, and the place in it. The bytecode says which places a loop holds.
"""

import dis
from functools import cache
from types import CodeType, FrameType
from typing import TypeAlias

Position: TypeAlias = tuple[tuple[CodeType, int], ...]
"""The running calls, outermost first: the code of each, and the offset of the instruction that it is at."""


def position_of(frame: FrameType | None) -> Position:
    """Where the program is that runs `frame` now. Holds no frame: their variables would live on."""
    calls = []
    while frame is not None:
        calls.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(reversed(calls))


def is_same_round(before: Position, now: Position) -> bool:
    """Whether the program came from `before` to `now` within one round of the innermost loop that `before` is in.

    Judged where the two first differ: further on in the same code, and in the same loops there.
    """
    for (code, earlier), (other, later) in zip(before, now, strict=False):
        if code is not other:
            return False
        if earlier != later:
            return earlier < later and _innermost_loop_holds(code, earlier, later)
    return False


def _innermost_loop_holds(code: CodeType, inside: int, other: int) -> bool:
    around = [(end - start, start, end) for start, end in _loops(code) if start <= inside <= end]
    if not around:
        return False
    _, start, end = min(around)
    return start <= other <= end


@cache
def _loops(code: CodeType) -> tuple[tuple[int, int], ...]:
    """The first and the last offset of each loop: those of a jump back, and of where it jumps to."""
    jumps = dis.hasjrel + dis.hasjabs
    return tuple((each.argval, each.offset) for each in dis.get_instructions(code) if each.opcode in jumps and each.argval < each.offset)
