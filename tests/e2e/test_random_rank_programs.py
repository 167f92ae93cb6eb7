"""Some random programs that single ranks out, through the launcher; `tests/emulate/test_random_rank_choices.py` has all 300."""

from pathlib import Path

from fakerun.job.ranks import ALL_RANKS
from tests.e2e.random_rank_programs import verdicts
from tests.rank_choices import random_choice

SEEDS = range(4)
"""Of `python -m tests.e2e.random_rank_programs`, here on fewer ranks."""


def test_ranks_that_are_singled_out_are_found(tmp_path: Path) -> None:
    choices = [random_choice(seed, nodes=(12, 33)) for seed in SEEDS]
    assert {choice.has_mismatch for choice in choices} == {False, True}
    assert [verdict.fault for verdict in verdicts(choices, tmp_path)] == [""] * len(choices)


def test_what_is_right_is_what_all_ranks_do(tmp_path: Path) -> None:
    """With every rank simulated nothing is assumed: then fakerun must agree with what plain Python says of the programs."""
    choices = [random_choice(seed, nodes=(1,)) for seed in (16,)]
    found = list(verdicts(choices, tmp_path, ALL_RANKS))
    assert [verdict.fault for verdict in found] == [""] * len(choices)
    assert [verdict.finds_mismatch for verdict in found] == [choice.has_mismatch for choice in choices]
