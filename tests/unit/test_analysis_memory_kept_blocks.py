"""What every step adds to what is allocated."""

import pytest

from fakerun.analysis.memory.kept_blocks import kept_by_each_step
from fakerun.records.memory import Category
from tests.unit.records_by_hand import MIB, block, program, site

LOSS = block(8 * MIB, Category.ACTIVATION, call_site=site("train.py:9"))
OTHER = block(2 * MIB, Category.ACTIVATION, call_site=site("train.py:12"))


@pytest.mark.parametrize(
    ("what", "blocks", "events", "step_ends", "kept"),
    [
        ("a list grows", [LOSS, LOSS], [0, 1], [1, 2], {0: 8 * MIB}),
        ("a list grows by two a step", [LOSS] * 4, [0, 1, 2, 3], [2, 4], {0: 16 * MIB}),
        ("a variable is assigned anew", [LOSS, LOSS], [0, 1, ~0], [1, 3], {}),
        ("a state is made in the first step", [LOSS], [0], [1, 1], {}),
        ("a second step alone does not tell a list from a state", [OTHER, LOSS], [0, 1], [1, 2], {0: 8 * MIB}),
        ("of three steps the last makes a state", [OTHER, OTHER, LOSS], [0, ~0, 1, ~1, 2], [1, 3, 5], {}),
        ("of three steps the last adds two, and one has a predecessor", [LOSS, LOSS, LOSS], [0, 1, 2], [0, 1, 3], {0: 8 * MIB}),
        ("of three steps the last two count", [LOSS, LOSS, LOSS], [0, 1, 2], [1, 2, 3], {0: 8 * MIB}),
        ("what is assigned anew may be larger", [OTHER, LOSS], [0, ~0, 1], [1, 3], {0: 6 * MIB}),
        ("one step", [LOSS, LOSS], [0, 1], [2], {}),
        ("no steps", [LOSS, LOSS], [0, 1], [], {}),
        ("what comes after the last step", [LOSS, LOSS], [0, 1], [1, 1], {}),
    ],
)
def test_kept(what: str, blocks: list[object], events: list[int], step_ends: list[int], kept: dict[int, int]) -> None:
    assert kept_by_each_step(program(blocks, events, step_ends)) == kept, what  # type: ignore[arg-type]
