"""Text from outside (a script's messages, names of files) as it may be printed: without control of the terminal, and not without end."""

import re

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 except tab and newline, DEL, C1
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of writing: what is shown need not be what is there
    "\u2028\u2029\ud800-\udfff]"  # line separators, lone surrogates
)


def printable(text: str) -> str:
    """The text with control characters as Python writes them; lines and tabs stay."""
    if text.isprintable():
        return text
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def cut(text: str, most: int) -> str:
    """The start of the text, and how much of it is left out, if it has more than `most` characters."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"
