"""How findings describe groups."""

import pytest

from fakerun.analysis.matching.description import describe_groups


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["dp"], "group dp"),
        (["tp", "dp"], "groups dp and tp"),
        (["of ranks 0-2"], "the group of ranks 0-2"),
        (["of ranks 4-6", "of ranks 0-2"], "the groups of ranks 0-2 and of ranks 4-6"),
        (["of ranks 0-2", "world"], "group world and the group of ranks 0-2"),
    ],
)
def test_groups_in_which_ranks_hang_are_named_or_described(labels: list[str], said: str) -> None:
    """A group without a name is not one of "groups of ranks 0-2 and world"."""
    assert describe_groups(labels) == said
