"""Alignment: which edit explains how two sequences of calls diverge, and how far it looks."""

import pytest

from fakerun.analysis.matching.compare.alignment import Alignment, Edit, align, first_divergence

CALLS = tuple(range(100))


def aligned(majority: tuple[int, ...], outlier: tuple[int, ...]) -> Alignment:
    position = first_divergence(majority, outlier)
    assert position is not None
    return align(majority, outlier, position)


@pytest.mark.parametrize(
    ("outlier", "expected"),
    [
        (CALLS[:5] + CALLS[6:], Alignment(Edit.MISSING, 5)),
        (CALLS[:5] + CALLS[9:], Alignment(Edit.MISSING, 5, 4)),
        (CALLS[:90], Alignment(Edit.MISSING, 90, 10)),
        ((*CALLS[:5], -1, *CALLS[5:]), Alignment(Edit.EXTRA, 5)),
        ((*CALLS[:5], -1, -2, -3, *CALLS[5:]), Alignment(Edit.EXTRA, 5, 3)),
        ((*CALLS, -1, -2), Alignment(Edit.EXTRA, 100, 2)),
        ((*CALLS[:5], 6, 5, *CALLS[7:]), Alignment(Edit.SWAPPED, 5, 2)),
        ((*CALLS[:5], *reversed(CALLS[5:])), Alignment(Edit.REORDERED, 5, 95)),
        ((*CALLS[:5], -1, *CALLS[6:]), Alignment(Edit.DIFFERENT, 5)),
        ((*CALLS[:5], *range(-95, 0)), Alignment(Edit.DIFFERENT, 5)),
    ],
)
def test_the_edit_after_which_they_agree_for_longest(outlier: tuple[int, ...], expected: Alignment) -> None:
    assert aligned(CALLS, outlier) == expected


def test_equal_sequences_do_not_diverge() -> None:
    assert first_divergence(CALLS, CALLS) is None


@pytest.mark.parametrize(("missing", "edit", "calls"), [(32, Edit.MISSING, 32), (33, Edit.DIFFERENT, 1)])
def test_at_most_32_missing_calls_are_recognised(missing: int, edit: Edit, calls: int) -> None:
    assert aligned(CALLS, (*CALLS[:5], *CALLS[5 + missing :])) == Alignment(edit, 5, calls)


@pytest.mark.parametrize(("extra", "edit", "calls"), [(32, Edit.EXTRA, 32), (33, Edit.DIFFERENT, 1)])
def test_at_most_32_extra_calls_are_recognised(extra: int, edit: Edit, calls: int) -> None:
    assert aligned(CALLS, (*CALLS[:5], *[-1] * extra, *CALLS[5:])) == Alignment(edit, 5, calls)


@pytest.mark.parametrize(("agreeing", "edit"), [(2, Edit.DIFFERENT), (3, Edit.MISSING)])
def test_after_several_missing_calls_three_must_agree(agreeing: int, edit: Edit) -> None:
    """Two calls that agree may do so by accident: programs repeat themselves."""
    majority = (0, 1, 2, *range(10, 10 + agreeing), 50, 51)
    outlier = (0, *range(10, 10 + agreeing), 60, 61, 62, 63)
    assert aligned(majority, outlier).edit is edit


@pytest.mark.parametrize(("agreeing", "edit"), [(2, Edit.MISSING), (3, Edit.SWAPPED)])
def test_after_swapped_calls_three_must_agree(agreeing: int, edit: Edit) -> None:
    same = tuple(range(10, 10 + agreeing))
    assert aligned((0, 1, 2, *same, 50), (0, 2, 1, *same, 60)).edit is edit


def test_agreement_counts_for_32_calls_at_most() -> None:
    """Two calls are missing here, which shows 33 calls later: too far to look, one missing call explains as much."""
    same = (7,) * 33
    assert aligned((0, 1, 7, *same, 9, 9), (0, *same, 9, 9)) == Alignment(Edit.MISSING, 1)
    assert aligned((0, 1, 7, *same[2:], 9, 9), (0, *same[2:], 9, 9)) == Alignment(Edit.MISSING, 1, 2)
