"""Emphasis and width of the text format: ANSI colours where allowed, and text clipped or wrapped to a width."""

import textwrap
from dataclasses import dataclass

FILE_WIDTH = 100
"""Columns of a report that goes to a file or a pipe: a fixed number, so that the same job gives the same page everywhere."""

_NARROWEST = 60
"""No terminal is taken to be narrower: what cannot be read there at all may as well be broken by the terminal."""
_WIDEST_PROSE = 100
_HARD_SPACE = "\u00a0"


@dataclass(frozen=True, slots=True)
class Style:
    """How the page is to look: whether text is marked with ANSI sequences, and how wide the terminal is (None for no terminal)."""

    color: bool = False
    terminal_width: int | None = None

    @property
    def width(self) -> int:
        """Columns that the page keeps to."""
        return FILE_WIDTH if self.terminal_width is None else max(self.terminal_width, _NARROWEST)

    @property
    def listing_width(self) -> int | None:
        """Columns for a listing: in a file nothing is left out, however wide that makes it."""
        return None if self.terminal_width is None else self.width

    def bold(self, text: str) -> str:
        return self._marked(text, "1")

    def dim(self, text: str) -> str:
        return self._marked(text, "2")

    def red(self, text: str) -> str:
        return self._marked(text, "1;31")

    def green(self, text: str) -> str:
        return self._marked(text, "32")

    def yellow(self, text: str) -> str:
        return self._marked(text, "33")

    def wrapped(self, text: str, *, indent: str = "", first_indent: str | None = None) -> list[str]:
        """The text in lines that fit, each after `indent`; its own line breaks stay, long words are not broken."""
        lines: list[str] = []
        for paragraph in text.splitlines():
            lines += textwrap.wrap(
                paragraph,
                min(self.width, _WIDEST_PROSE),
                initial_indent=indent if first_indent is None or lines else first_indent,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        return [line.replace(_HARD_SPACE, " ") for line in lines]

    def _marked(self, text: str, sequence: str) -> str:
        return f"\x1b[{sequence}m{text}\x1b[0m" if self.color else text


def unbroken(text: str) -> str:
    """The text as one word for `Style.wrapped`."""
    return text.replace(" ", _HARD_SPACE)


def clip_end(text: str, width: int) -> str:
    """Keeps the start."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def clip_place(text: str, width: int) -> str:
    """Keeps the end of a `file:line`, whole directories of it if possible: `.../llama3.py:88`."""
    return _clip_start(text, width, [text[at:] for at, character in enumerate(text) if character == "/"])


def clip_module(text: str, width: int) -> str:
    """Keeps the end of a module's name, whole parts of it if possible: `...feed_forward.w1`."""
    return _clip_start(text, width, [text[at + 1 :] for at, character in enumerate(text) if character == "."])


def _clip_start(text: str, width: int, tails: list[str]) -> str:
    """The longest of the tails that has room behind the mark; else the last one by itself; else as many characters as there is room for."""
    if len(text) <= width:
        return text
    room = width - 3
    last = tails[-1].removeprefix("/") if tails else text
    shortened = last if len(last) <= width else f"...{text[len(text) - room :]}"
    return next((f"...{tail}" for tail in tails if len(tail) <= room), shortened)
