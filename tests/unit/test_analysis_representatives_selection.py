"""Which ranks stand for others: worlds whose ranks do what a function of their places says, and what is found out about them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

from fakerun.analysis.representatives import Choice, Representatives
from fakerun.job.named_ranks import NamedRank
from fakerun.mesh import Mesh
from fakerun.records.run import FailureKind, ProcessFailure

if TYPE_CHECKING:
    from fakerun.analysis.classes import Trace

Does = Callable[[Mapping[str, int]], object]
LARGE = {"pp": 4, "dp": 64, "tp": 8}


class World:
    """Ranks on `axes`, of which each does what `does` says of its place; a rank in `failing` fails."""

    def __init__(self, axes: Mapping[str, int], does: Does, *named: NamedRank, fails: bool = False) -> None:
        self.axes = axes
        self.plan = Representatives(Mesh.of(axes), named, ranks_per_node=8, seed=7)
        self.traces: dict[int, Trace] = {}
        self.rounds: list[tuple[int, ...]] = []
        numbers: dict[object, int] = {}
        failure = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no") if fails else None
        while more := self.plan.next(self.traces):
            self.rounds.append(more)
            for rank in more:
                self.traces[rank] = (numbers.setdefault(does(self.place(rank)), len(numbers)), 0, 2, failure)

    def place(self, rank: int) -> dict[str, int]:
        place = {}
        for axis, size in reversed(tuple(self.axes.items())):
            rank, place[axis] = divmod(rank, size)
        return {"rank": rank, **place} | {axis: place[axis] for axis in self.axes}

    def choice(self) -> Choice:
        return self.plan.choice(self.traces)

    def like(self) -> dict[int, int]:
        return {rank: each.representative for each in self.choice().assumed for rank in each.ranks}


def by_stage(place: Mapping[str, int]) -> object:
    return place["pp"]


def test_every_stage_is_simulated_and_few_others() -> None:
    world = World(LARGE, by_stage)
    assert {world.place(rank)["pp"] for rank in world.rounds[0]} == {0, 1, 2, 3}
    assert len(world.traces) < 16
    assert not [finding for finding in world.choice().findings if finding.code == "assumption-refuted"]


def test_what_is_assumed_is_so() -> None:
    world = World(LARGE, by_stage)
    like = world.like()
    assert len(like) + len(world.traces) == 4 * 64 * 8
    assert all(world.place(rank)["pp"] == world.place(other)["pp"] for rank, other in like.items())


@pytest.mark.parametrize(
    "does",
    [
        lambda place: (place["pp"], place["dp"] == 63),
        lambda place: (place["pp"], place["dp"] == 0),
        lambda place: (place["pp"], place["tp"] == 7, place["dp"] == 0),
        lambda place: (place["pp"] == 3 and place["dp"] == 63, place["pp"]),
        lambda place: (place["pp"], place["tp"]),
        lambda place: (place["pp"], place["dp"] < 11, place["dp"] < 41),
        lambda place: (place["pp"], min(place["dp"] // 20, 2), place["tp"] < 4),
    ],
    ids=[
        "last shard",
        "first of dp",
        "ends of two axes",
        "last of the last stage",
        "every tp rank",
        "shards that end",
        "parts of two axes",
    ],
)
def test_places_that_differ_are_found(does: Does) -> None:
    world = World(LARGE, does)
    assert all(does(world.place(rank)) == does(world.place(other)) for rank, other in world.like().items())
    assert world.like()
    assert len(world.traces) < 100


def test_where_all_differ_nothing_is_assumed_and_that_is_said() -> None:
    world = World(LARGE, lambda place: tuple(place.items()))
    assert world.like() == {}
    (finding,) = world.choice().findings
    assert finding.code == "assumption-refuted"
    assert str(4 * 64 * 8 - len(world.traces)) in finding.message


def test_one_in_three_is_found_by_the_spot_checks() -> None:
    """No corner, end or middle tells: ranks differ in the middle of an axis."""
    world = World({"dp": 3000}, lambda place: 10 < place["dp"] < 1400 or 1600 < place["dp"] < 2900)
    assert [finding.code for finding in world.choice().findings] == ["assumption-refuted"]


def test_a_rank_that_the_script_names_stands_for_itself() -> None:
    world = World({"dp": 4096}, lambda place: place["dp"] == 77, NamedRank("", 77))
    assert 77 in world.traces
    assert len(world.like()) + len(world.traces) == 4096
    assert "rank 77 differs, and stands for itself" in world.choice().findings[0].message


def test_a_rank_named_on_an_axis() -> None:
    world = World(LARGE, by_stage, NamedRank("tp", 5), NamedRank("local", 3))
    assert any(world.place(rank)["tp"] == 5 for rank in world.traces)
    assert {3, 11} <= world.traces.keys()


def test_rank_0_may_do_more_than_others() -> None:
    world = World(LARGE, lambda place: (place["pp"], not any(place.values())))
    assert len(world.like()) + len(world.traces) == 4 * 64 * 8


def at_the_last_shard(place: Mapping[str, int]) -> bool:
    return place["pp"] == 3 and place["dp"] == 63


def test_an_end_that_differs_by_itself_stands_for_itself() -> None:
    """The corner differs from what the axes by themselves tell; the rank beside it does not."""
    world = World(LARGE, lambda place: (place["pp"], place["dp"] == 63, at_the_last_shard(place) and place["tp"] == 7))
    like = world.like()
    assert len(like) + len(world.traces) == 4 * 64 * 8
    assert [finding.code for finding in world.choice().findings] == ["ranks-assumed"]
    assert all(world.place(other)["tp"] != 7 for rank, other in like.items() if at_the_last_shard(world.place(rank)))


def test_a_few_ranks_in_doubt_are_simulated() -> None:
    """The corner differs, and so does the rank beside it: how far that goes is seen by simulating them all."""
    world = World(LARGE, lambda place: (place["pp"], place["dp"] == 63, at_the_last_shard(place) and place["tp"] > 3))
    assert {rank for rank in range(4 * 64 * 8) if at_the_last_shard(world.place(rank))} <= world.traces.keys()
    assert [finding.code for finding in world.choice().findings] == ["ranks-assumed"]


def test_stages_between_are_like_the_one_in_the_middle() -> None:
    """What differs on the first and the last stage alone is not looked for on every stage."""
    world = World({"pp": 16, "dp": 128, "tp": 8}, lambda place: (place["pp"], place["dp"] == 127 and place["pp"] in (0, 15)))
    assert world.like()[2041] == 1033
    assert len(world.traces) < 48


def test_small_worlds_are_simulated_whole() -> None:
    world = World({"pp": 2, "dp": 4}, by_stage)
    assert world.rounds == [tuple(range(8))]
    assert world.choice() == Choice((), ())


def test_where_every_rank_fails_no_more_are_tried() -> None:
    world = World(LARGE, by_stage, fails=True)
    assert len(world.rounds) == 1
    assert world.like() == {}


def test_the_same_job_has_the_same_representatives() -> None:
    assert World(LARGE, by_stage).rounds == World(LARGE, by_stage).rounds


def test_what_stands_for_a_rank_elsewhere_is_on_the_line_of_stages() -> None:
    world = World(LARGE, by_stage)
    assert {world.plan.stand_in(rank) for rank in range(4 * 64 * 8)} == set(world.rounds[0])
