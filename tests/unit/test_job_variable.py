"""Values of variables that differ between ranks."""

import pytest

from fakerun.errors import UsageError
from fakerun.job.variable import check_value, value_of

NUMBERS = {"rank": 6, "local_rank": 2, "node_rank": 1, "world_size": 8}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("${rank}", "6"),
        ("${node_rank}/${local_rank} of ${world_size}", "1/2 of 8"),
        ("$rank $ $$ ${", "$rank $ $$ ${"),
        ("$${rank}", "${rank}"),
        ("$${HOME} ${rank}", "${HOME} 6"),
        ("$$${rank}", "$${rank}"),
    ],
)
def test_values(text: str, value: str) -> None:
    assert value_of(check_value(text), NUMBERS) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${rnk}", "unknown name ${rnk} (did you mean 'rank'?); known: rank, local_rank, node_rank, world_size; $${ stands for ${"),
        ("${}", "unknown name ${}; known: rank, local_rank, node_rank, world_size; $${ stands for ${"),
        ("$${HOME} ${HOME}", "unknown name ${HOME}; known: rank, local_rank, node_rank, world_size; $${ stands for ${"),
    ],
)
def test_unknown_names_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_value(text)
    assert str(refused.value) == message
