"""Formats quantities for people (bytes, ranks, lists), and recognises counts in text. Pure functions on numbers and text."""

import re
from collections.abc import Iterable, Sequence

GIB = 1024**3

_BYTE_UNITS = (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


_MOST_DIGITS = 18


def is_count(text: str) -> bool:
    """Whether text is a whole number of at most 18 digits: `int` also accepts superscripts, and fails for thousands of digits."""
    return re.fullmatch(f"[0-9]{{1,{_MOST_DIGITS}}}", text) is not None


def why_no_count(text: str, otherwise: str) -> str:
    """The reason why `is_count` is false of `text`: it is too large, or else `otherwise`."""
    digits = re.fullmatch("[0-9]+", text)
    return otherwise if digits is None else f"is too large: a number has at most {_MOST_DIGITS} digits"


def format_bytes(n: int) -> str:
    """Binary units, three significant digits; exact below 1 KiB. `80.0 GiB`, `1.50 MiB`, `512 B`."""
    magnitude = abs(n)
    for unit, size in _BYTE_UNITS:
        # A value less than half a last digit below the unit would be rounded up to "1024": show 1.00 of this unit.
        if magnitude >= size - size // 2048 and magnitude >= 1024:
            return f"{_three_digits(n / size)} {unit}"
    return f"{n} B"


def format_seconds(seconds: float) -> str:
    """Three significant digits: `2.79 s`, `413 ms`, `28.0 us`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if abs(seconds) >= 0.9995 * size:
            return f"{_three_digits(seconds / size)} {unit}"
    return f"{_three_digits(seconds * 1e6)} us" if seconds else "0 s"


def format_share(part: float, whole: float) -> str:
    """`42 %`; what is there but rounds to nothing is `<1 %`."""
    if not part or not whole:
        return "0 %"
    return f"{100 * part / whole:.0f} %" if 200 * part > whole else "<1 %"


def _three_digits(value: float) -> str:
    for decimals, limit in ((2, 9.995), (1, 99.95)):
        if abs(value) < limit:
            return f"{value:.{decimals}f}"
    return f"{value:.0f}"


_RUNS = 8
"""Runs of consecutive ranks that are shown in full; of more runs, only the first `_RUNS_SHOWN` are."""
_RUNS_SHOWN = 3


def format_ranks(ranks: Iterable[int]) -> str:
    """Sorted ranks with consecutive ones joined: `0,4-7`; abbreviated if there are many: `0-3,8,16-19,... (137 ranks)`."""
    numbers = sorted(set(ranks))
    shown, is_short = _shown_runs(numbers)
    return ",".join(shown) if is_short else f"{','.join(shown)},... ({len(numbers)} ranks)"


def name_ranks(ranks: Iterable[int]) -> str:
    """Ranks in a sentence: `rank 3`, `ranks 0-1 and 3`, `ranks 0-3, 8, 16-19, ... (137 ranks)`."""
    numbers = sorted(set(ranks))
    shown, is_short = _shown_runs(numbers)
    listed = join_words(shown) if is_short else f"{', '.join(shown)}, ... ({len(numbers)} ranks)"
    return f"rank{'s' * (len(numbers) != 1)} {listed}"


def join_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *first, last = words or [""]
    return f"{', '.join(first)} and {last}" if first else last


def _shown_runs(numbers: Sequence[int]) -> tuple[list[str], bool]:
    """The runs to show, and whether they are all."""
    runs = [str(first) if first == last else f"{first}-{last}" for first, last in _runs(numbers)]
    return (runs, True) if len(runs) <= _RUNS else (runs[:_RUNS_SHOWN], False)


def _runs(ranks: Sequence[int]) -> Iterable[tuple[int, int]]:
    start = 0
    for i, rank in enumerate(ranks):
        if i + 1 == len(ranks) or ranks[i + 1] != rank + 1:
            yield ranks[start], rank
            start = i + 1
