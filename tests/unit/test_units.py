"""Formatting of quantities."""

from collections.abc import Sequence

import pytest

from fakerun.units import format_bytes, format_ranks, format_seconds, format_share, is_count, join_words, name_ranks


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (10 * 1024, "10.0 KiB"),
        (100 * 1024, "100 KiB"),
        (1023 * 1024, "1023 KiB"),
        (1024**2 - 1, "1.00 MiB"),  # not 1024 KiB
        (80 * 1024**3, "80.0 GiB"),
        (int(79.14 * 1024**3), "79.1 GiB"),
        (3 * 1024**4, "3.00 TiB"),
        (-1536, "-1.50 KiB"),
    ],
)
def test_bytes(n: int, text: str) -> None:
    assert format_bytes(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (28.04e-6, "28.0 us"),
        (9.996e-4, "1.00 ms"),
        (0.4126, "413 ms"),
        (0.9996, "1.00 s"),
        (2.787, "2.79 s"),
        (118.4, "118 s"),
        (-0.02, "-20.0 ms"),
    ],
)
def test_seconds(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(1, 2, "50 %"), (1, 1000, "<1 %"), (0, 5, "0 %"), (1, 0, "0 %"), (3, 200, "2 %"), (2, 2, "100 %")]
)
def test_shares(part: float, whole: float, text: str) -> None:
    assert format_share(part, whole) == text


@pytest.mark.parametrize(
    ("ranks", "text"), [((), ""), ((0,), "0"), ((0, 1), "0-1"), ((7, 0, 5, 4, 6), "0,4-7"), ((1, 1, 3), "1,3"), (range(1024), "0-1023")]
)
def test_ranks(ranks: tuple[int, ...], text: str) -> None:
    assert format_ranks(ranks) == text


MANY = (*range(4), 8, *range(16, 20), *range(30, 50, 2))
"""Eleven runs and more, of which the first three are shown."""


@pytest.mark.parametrize(
    ("ranks", "in_tables", "in_sentences"),
    [
        ((3,), "3", "rank 3"),
        ((0, 1, 3), "0-1,3", "ranks 0-1 and 3"),
        (range(0, 16, 2), "0,2,4,6,8,10,12,14", "ranks 0, 2, 4, 6, 8, 10, 12 and 14"),
        (range(0, 18, 2), "0,2,4,... (9 ranks)", "ranks 0, 2, 4, ... (9 ranks)"),
        (MANY, "0-3,8,16-19,... (19 ranks)", "ranks 0-3, 8, 16-19, ... (19 ranks)"),
    ],
)
def test_many_ranks_are_abbreviated(ranks: Sequence[int], in_tables: str, in_sentences: str) -> None:
    """Eight runs are shown, of nine only three."""
    assert (format_ranks(ranks), name_ranks(ranks)) == (in_tables, in_sentences)


@pytest.mark.parametrize(("words", "text"), [((), ""), (("a",), "a"), (("a", "b"), "a and b"), (("a", "b", "c"), "a, b and c")])
def test_words_joined(words: Sequence[str], text: str) -> None:
    assert join_words(words) == text


@pytest.mark.parametrize(
    ("text", "counts"), [("0", True), ("12", True), ("", False), ("-1", False), ("1.0", False), ("²", False), ("9" * 5000, False)]
)
def test_what_is_read_as_a_count(text: str, counts: bool) -> None:
    assert is_count(text) is counts
