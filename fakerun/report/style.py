"""Emphasis and width of terminal text: ANSI colours where allowed, and text clipped or wrapped to a width."""

import textwrap
from dataclasses import dataclass

WIDTH = 110
"""Columns that the table report keeps to. The trace may take more."""


@dataclass(frozen=True, slots=True)
class Style:
    """Marks text with ANSI sequences, or leaves it alone."""

    color: bool

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

    def _marked(self, text: str, sequence: str) -> str:
        return f"\x1b[{sequence}m{text}\x1b[0m" if self.color else text


def clip_start(text: str, width: int) -> str:
    """Keeps the end, which tells files and modules apart."""
    return text if len(text) <= width else f"...{text[len(text) - width + 3 :]}"


def clip_end(text: str, width: int) -> str:
    """Keeps the start."""
    return text if len(text) <= width else f"{text[: width - 3]}..."


def wrapped(text: str, *, indent: str, width: int = WIDTH) -> list[str]:
    """The text in lines of at most `width` columns, each after `indent`; its own line breaks stay, long words are not broken."""
    return [
        line
        for paragraph in text.splitlines()
        for line in textwrap.wrap(
            paragraph,
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]
