"""Random programs that ask for their rank: ranks for which all recorded tests come out as on the simulated rank do what it does.

Each program is run as it is with every rank, and followed with some: the value that it computes must be the same on every rank that the
tests do not distinguish, and a value that is still followed must be the recorded function of every such rank.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fakerun.emulate.rank_tracking.rewriting import compile_followed
from fakerun.emulate.rank_tracking.tracker import RankTracker, active
from fakerun.emulate.rank_tracking.values import FOLLOWED, follow
from fakerun.records.observer import RankExpression
from fakerun.records.rank_function import Number, RankFunction, RankOperation
from tests.rank_functions import text_of, value_of

WORLD = 48
PER_NODE = 8
SEEDS = range(400)


class Uses:
    """Implements `RankUseObserver`, without places."""

    def __init__(self) -> None:
        self.tests: list[tuple[RankFunction, Number]] = []
        self.kinds: list[str] = []

    def tested(self, expression: RankExpression, outcome: Number, frame: FrameType) -> None:
        self.tests.append((expression.function, outcome))

    def unfollowed(self, kind: str, frame: FrameType) -> None:
        self.kinds.append(kind)


def number(chance: random.Random, depth: int) -> str:
    """An expression with an integer for a value."""
    if depth == 0:
        return chance.choice(["rank", "rank", "rank", "local", "node", str(chance.randrange(WORLD)), str(chance.randint(1, 9))])
    a, b = (f"({number(chance, depth - 1)})" for _ in range(2))
    positive = chance.randint(1, 9)
    return chance.choice(
        [
            *(f"{a} {sign} {b}" for sign in ("+", "-", "*", "&", "|", "^")),
            f"{a} // {positive}",
            f"{a} % {positive}",
            f"-{a}",
            f"~{a}",
            f"abs({a})",
            f"int({a} / {positive})",
            f"int(str({a}))",
            f"max({a}, {b})",
            f"divmod({a}, {positive})[1]",
            f"{a} >> {chance.randint(0, 3)}",
            f"[{', '.join(str(chance.randrange(4)) for _ in range(positive))}][{a} % {positive}]",
            f"{{{chance.randrange(WORLD)}: 5, {chance.randrange(9)}: 6}}.get({a}, {chance.choice('57')})",
            f"({a} if {truth(chance, depth - 1)} else {b})",
        ]
    )


def truth(chance: random.Random, depth: int) -> str:
    """An expression with a truth value."""
    a, b = (f"({number(chance, depth)})" for _ in range(2))
    some = [chance.randrange(WORLD) for _ in range(chance.randint(0, 4))]
    simple = chance.choice(
        [
            *(f"{a} {sign} {b}" for sign in ("==", "!=", "<", "<=", ">", ">=")),
            f"{a} in {some}",
            f"{a} not in {set(some) or 'set()'}",
            f"{a} in range({chance.randrange(9)}, {chance.randrange(200)}, {chance.randint(1, 3)})",
            f"({a}, {b}) in {{({chance.randrange(9)}, {chance.randrange(9)}), (1, 0)}}",
            f"str({a}) == '{chance.randrange(WORLD)}'",
            f"f'r{{{a}}}' in {[f'r{each}' for each in some]}",
            f"bool({a})",
            f"not {a}",
            f"0 <= {a} < {chance.randrange(WORLD)}",
            f"['a', 'b', None, 'a'][{a} % 4] == 'a'",
        ]
    )
    return simple if depth == 0 or chance.random() < 0.6 else f"({simple}) {chance.choice(('and', 'or'))} ({truth(chance, depth - 1)})"


def same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(value == other)


@pytest.fixture
def uses() -> Iterator[Uses]:
    found = Uses()
    active.tracker = RankTracker(found, {})
    yield found
    active.tracker = None


@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_with_the_same_outcomes_do_the_same(seed: int, uses: Uses, tmp_path: Path) -> None:
    chance = random.Random(seed)
    source = f"value = {chance.choice((truth, number))(chance, chance.randint(0, 3))}\n"
    tracker = active.tracker
    assert tracker is not None
    code = compile_followed(source, "program.py") or compile(source, "program.py", "exec")
    values = [_run(compile(source, "program.py", "exec"), rank, rank % PER_NODE, rank // PER_NODE) for rank in range(WORLD)]
    for simulated in chance.sample(range(WORLD), 4):
        uses.tests.clear()
        leaves = (
            follow(plain, tracker.expressions.leaf(operation), tracker, None)  # type: ignore[arg-type]
            for operation, plain in (
                (RankOperation.RANK, simulated),
                (RankOperation.LOCAL_RANK, simulated % PER_NODE),
                (RankOperation.NODE_RANK, simulated // PER_NODE),
            )
        )
        value = _run(code, *leaves)
        assert getattr(value, "plain", value) == values[simulated]
        assert all(value_of(function, simulated, PER_NODE) == outcome for function, outcome in uses.tests)
        assert uses.kinds == [], source
        for other in range(WORLD):
            if all(value_of(function, other, PER_NODE) == outcome for function, outcome in uses.tests):
                expected = value_of(value.expression.function, other, PER_NODE) if isinstance(value, FOLLOWED) else value
                assert same(expected, values[other]), (source, simulated, other, [text_of(function) for function, _ in uses.tests])


def _run(code: Any, *leaves: Any) -> Any:
    """The value of the program."""
    names: dict[str, Any] = dict(zip(("rank", "local", "node"), leaves, strict=True))
    exec(code, names)
    return names["value"]
