"""How quantities are written."""

import pytest

from fakerun.units import format_bytes, format_duration, format_ranks


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
    ("seconds", "text"), [(0.04, "0.0 s"), (12.34, "12.3 s"), (59.99, "1 min 00 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")]
)
def test_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("ranks", "text"), [((), ""), ((0,), "0"), ((0, 1), "0-1"), ((7, 0, 5, 4, 6), "0,4-7"), ((1, 1, 3), "1,3"), (range(1024), "0-1023")]
)
def test_ranks(ranks: tuple[int, ...], text: str) -> None:
    assert format_ranks(ranks) == text
