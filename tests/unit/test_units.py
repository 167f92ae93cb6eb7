"""Formatting of quantities."""

import pytest

from fakerun.units import format_bytes, format_ranks, is_count


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
    ("ranks", "text"), [((), ""), ((0,), "0"), ((0, 1), "0-1"), ((7, 0, 5, 4, 6), "0,4-7"), ((1, 1, 3), "1,3"), (range(1024), "0-1023")]
)
def test_ranks(ranks: tuple[int, ...], text: str) -> None:
    assert format_ranks(ranks) == text


@pytest.mark.parametrize(
    ("text", "counts"), [("0", True), ("12", True), ("", False), ("-1", False), ("1.0", False), ("²", False), ("9" * 5000, False)]
)
def test_what_is_read_as_a_count(text: str, counts: bool) -> None:
    assert is_count(text) is counts
