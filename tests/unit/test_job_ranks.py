"""The syntax of ranks, and what it selects."""

import pytest

from fakerun.errors import UsageError
from fakerun.job.ranks import parse_ranks


@pytest.mark.parametrize(
    ("text", "ranks"),
    [
        ("all", (0, 1, 2, 3, 4, 5, 6, 7)),
        ("3", (3,)),
        ("0,4-7", (0, 4, 5, 6, 7)),
        ("5, 1 - 2,1", (1, 2, 5)),
        ("6-6", (6,)),
    ],
)
def test_ranks(text: str, ranks: tuple[int, ...]) -> None:
    assert parse_ranks(text).resolve(8) == ranks


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ranks '': '' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7"),
        ("0,x", "ranks '0,x': 'x' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7"),
        ("-1", "ranks '-1': '-1' is neither a number nor a range; write all, auto, or numbers and ranges as in 0,4-7"),
        ("0,7-4", "ranks '0,7-4': the range 7-4 is empty; write all, auto, or numbers and ranges as in 0,4-7"),
        ("4-8", "rank 8 does not exist: a world size of 8 has ranks 0 to 7"),
        ("0-99999999", "rank 99999999 does not exist: a world size of 8 has ranks 0 to 7"),
    ],
)
def test_invalid_ranks(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_ranks(text).resolve(8)
    assert str(error.value) == message
