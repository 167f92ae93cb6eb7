"""Which ranks represent others: worlds whose ranks behave as a function of their coordinates, and the choices made in them."""

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING

import pytest

from fakerun.analysis.representatives import MAX_CLASSES, Outcomes, RankColumns, Representatives, Selection
from fakerun.call_site import CallSite
from fakerun.mesh import Mesh
from fakerun.records.rank_function import RankOperation, RankTest
from fakerun.records.run import FailureKind, ProcessFailure
from tests.unit.records_by_hand import constant, is_rank, rank_function

if TYPE_CHECKING:
    from fakerun.analysis.classes import Fingerprint

Does = Callable[[Mapping[str, int]], object]
LARGE = {"pp": 4, "dp": 64, "tp": 8}


class World:
    """Ranks on `axes`, each of which does what `does` says for its coordinate. If it `fails`, all ranks fail."""

    def __init__(
        self, axes: Mapping[str, int], does: Does, *tests: Callable[[int], RankTest | None], fails: bool = False, samples: int = 4
    ) -> None:
        self.axes = axes
        mesh = Mesh.of(axes)
        self.outcomes = Outcomes(RankColumns(mesh, ranks_per_node=8), mesh.world_size, limit=MAX_CLASSES)
        self.plan = Representatives(mesh, self.outcomes, samples=samples, seed=7)
        self.fingerprints: dict[int, Fingerprint] = {}
        self.rounds: list[tuple[int, ...]] = []
        numbers: dict[object, int] = {}
        failure = ProcessFailure(kind=FailureKind.EXCEPTION, exception="ValueError", message="no") if fails else None
        while more := self.plan.next(self.fingerprints):
            self.rounds.append(more)
            for rank in more:
                self.outcomes.add(made for test in tests if (made := test(rank)) is not None)
                self.fingerprints[rank] = (numbers.setdefault(does(self.coordinate(rank)), len(numbers)), 0, 2, failure, None)

    def coordinate(self, rank: int) -> dict[str, int]:
        coordinate = {}
        for axis, size in reversed(tuple(self.axes.items())):
            rank, coordinate[axis] = divmod(rank, size)
        return {"rank": rank, **coordinate} | {axis: coordinate[axis] for axis in self.axes}

    def selection(self) -> Selection:
        return self.plan.selection(self.fingerprints)

    def representatives(self) -> dict[int, int]:
        return {rank: each.representative for each in self.selection().assumed for rank in each.ranks}


def equals(number: int) -> Callable[[int], RankTest]:
    """Every rank asks whether it is this one."""
    return lambda rank: RankTest(function=is_rank(number), outcome=rank == number, call_site=CallSite(path="a.py", line=1, function="f"))


def by_stage(coordinate: Mapping[str, int]) -> object:
    return coordinate["pp"]


def test_every_stage_is_simulated_and_few_others() -> None:
    world = World(LARGE, by_stage)
    assert {world.coordinate(rank)["pp"] for rank in world.rounds[0]} == {0, 1, 2, 3}
    assert len(world.fingerprints) < 16
    assert not [finding for finding in world.selection().findings if finding.code == "assumption-refuted"]


def test_what_is_assumed_is_so() -> None:
    world = World(LARGE, by_stage)
    represented = world.representatives()
    assert len(represented) + len(world.fingerprints) == 4 * 64 * 8
    assert all(world.coordinate(rank)["pp"] == world.coordinate(other)["pp"] for rank, other in represented.items())


@pytest.mark.parametrize(
    "does",
    [
        lambda coordinate: (coordinate["pp"], coordinate["dp"] == 63),
        lambda coordinate: (coordinate["pp"], coordinate["dp"] == 0),
        lambda coordinate: (coordinate["pp"], coordinate["tp"] == 7, coordinate["dp"] == 0),
        lambda coordinate: (coordinate["pp"] == 3 and coordinate["dp"] == 63, coordinate["pp"]),
        lambda coordinate: (coordinate["pp"], coordinate["tp"]),
        lambda coordinate: (coordinate["pp"], coordinate["dp"] < 11, coordinate["dp"] < 41),
        lambda coordinate: (coordinate["pp"], min(coordinate["dp"] // 20, 2), coordinate["tp"] < 4),
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
def test_indices_that_differ_are_found(does: Does) -> None:
    world = World(LARGE, does)
    assert all(does(world.coordinate(rank)) == does(world.coordinate(other)) for rank, other in world.representatives().items())
    assert world.representatives()
    assert len(world.fingerprints) < 100


def test_if_all_ranks_differ_nothing_is_assumed_and_a_finding_says_so() -> None:
    world = World(LARGE, lambda coordinate: tuple(coordinate.items()))
    assert world.representatives() == {}
    (finding,) = world.selection().findings
    assert finding.code == "assumption-refuted"
    assert str(4 * 64 * 8 - len(world.fingerprints)) in finding.message


def test_one_in_three_is_found_by_the_spot_checks() -> None:
    """No corner, end or middle tells: ranks differ in the middle of an axis."""
    world = World({"dp": 3000}, lambda coordinate: 10 < coordinate["dp"] < 1400 or 1600 < coordinate["dp"] < 2900)
    assert [finding.code for finding in world.selection().findings] == ["assumption-refuted"]


def test_a_rank_that_the_program_asks_for_is_a_class_of_its_own() -> None:
    world = World({"dp": 4096}, lambda coordinate: coordinate["dp"] == 77, equals(77))
    assert 77 in world.fingerprints
    assert len(world.representatives()) + len(world.fingerprints) == 4096
    assert {finding.code for finding in world.selection().findings} == {"ranks-represented"}


def test_a_new_representative_may_test_more() -> None:
    """All ranks ask whether they are on node 9, and those that are whether they are rank 75."""
    ranks = rank_function(RankOperation.RANK)
    node = rank_function(RankOperation.FLOORDIV, ranks, constant(8))
    first = RankTest(function=rank_function(RankOperation.EQ, node, constant(9)), outcome=0, call_site=None)
    second = RankTest(function=is_rank(75), outcome=0, call_site=None)
    world = World(
        {"dp": 4096}, lambda at: (at["dp"] // 8 == 9, at["dp"] == 75), lambda _: first, lambda rank: second if rank // 8 == 9 else None
    )
    assert {72, 75} <= world.fingerprints.keys()
    assert len(world.fingerprints) < 12
    assert {finding.code for finding in world.selection().findings} == {"ranks-represented"}


def test_every_third_rank_is_a_class() -> None:
    third = rank_function(RankOperation.MOD, rank_function(RankOperation.RANK), constant(3))
    test = RankTest(function=rank_function(RankOperation.EQ, third, constant(0)), outcome=0, call_site=None)
    world = World({"node": 64, "local": 8}, lambda at: at["rank"] % 3 == 0, lambda _: test)
    assert all(rank % 3 == 0 if other % 3 == 0 else rank % 3 for rank, other in world.representatives().items())
    assert {finding.code for finding in world.selection().findings} == {"ranks-represented"}


def test_of_too_many_classes_those_that_a_line_singles_out_alike_are_one() -> None:
    """A loop over all ranks in which each does its part: `for peer in range(world): if peer == rank: ...`."""
    tests = [equals(rank) for rank in range(1000)]
    world = World({"dp": 1000}, lambda _: 0, *tests)
    assert len(world.fingerprints) < 12
    (finding,) = world.selection().findings
    assert finding.code == "ranks-assumed"
    assert "singles them out equally often" in finding.message


def test_ranks_that_find_themselves_in_a_table_are_no_classes() -> None:
    """Each rank compares with its own number alone, as a dictionary does; what the others would find there is not known."""
    own = [RankTest(function=is_rank(rank), outcome=1, call_site=CallSite(path="a.py", line=1, function="f")) for rank in range(512)]
    world = World({"dp": 512}, lambda _: 0, lambda rank: own[rank])
    assert len(world.fingerprints) < 30
    assert [(use.kind, str(use.call_site)) for use in world.outcomes.lookups] == [("index", "a.py:1")]
    assert world.outcomes.classes == 1


def test_more_classes_than_are_simulated_are_unknown() -> None:
    """Each rank takes a branch of its own on a line of its own."""
    tests = [RankTest(function=is_rank(rank), outcome=0, call_site=CallSite(path="a.py", line=rank, function="f")) for rank in range(300)]
    world = World({"dp": 300}, lambda at: at["dp"], *(lambda rank, test=test: test if rank % 16 == 1 else None for test in tests))
    assert 256 <= len(world.fingerprints) < 300
    (finding,) = world.selection().findings
    assert finding.code == "ranks-unknown"
    assert f"about {300 - len(world.fingerprints)} ranks" in finding.message


def test_ranks_whose_groups_are_not_known_are_unknown() -> None:
    world = World({"dp": 100}, lambda _: 0)
    selection = world.plan.selection(world.fingerprints, groupless=lambda assumed: [each.ranks[-1] for each in assumed])
    assert [finding.code for finding in selection.findings] == ["ranks-represented", "ranks-unknown"]
    assert not any(99 in each.ranks for each in selection.assumed)


def test_rank_0_may_do_more_than_others() -> None:
    world = World(LARGE, lambda coordinate: (coordinate["pp"], not any(coordinate.values())))
    assert len(world.representatives()) + len(world.fingerprints) == 4 * 64 * 8


def at_the_last_shard(coordinate: Mapping[str, int]) -> bool:
    return coordinate["pp"] == 3 and coordinate["dp"] == 63


def test_an_end_that_differs_alone_represents_itself() -> None:
    """The corner differs from what the samples of each axis show; the rank beside it does not."""
    world = World(
        LARGE, lambda coordinate: (coordinate["pp"], coordinate["dp"] == 63, at_the_last_shard(coordinate) and coordinate["tp"] == 7)
    )
    represented = world.representatives()
    assert len(represented) + len(world.fingerprints) == 4 * 64 * 8
    assert [finding.code for finding in world.selection().findings] == ["ranks-assumed"]
    assert all(world.coordinate(other)["tp"] != 7 for rank, other in represented.items() if at_the_last_shard(world.coordinate(rank)))


def test_a_few_ranks_in_doubt_are_simulated() -> None:
    """The corner differs, and so does the rank beside it: how far that goes is seen by simulating them all."""
    world = World(
        LARGE, lambda coordinate: (coordinate["pp"], coordinate["dp"] == 63, at_the_last_shard(coordinate) and coordinate["tp"] > 3)
    )
    assert {rank for rank in range(4 * 64 * 8) if at_the_last_shard(world.coordinate(rank))} <= world.fingerprints.keys()
    assert [finding.code for finding in world.selection().findings] == ["ranks-assumed"]


def test_stages_between_match_the_one_in_the_middle() -> None:
    """What differs on the first and the last stage alone is not looked for on every stage."""
    world = World(
        {"pp": 16, "dp": 128, "tp": 8}, lambda coordinate: (coordinate["pp"], coordinate["dp"] == 127 and coordinate["pp"] in (0, 15))
    )
    assert world.representatives()[2041] == 1033
    assert len(world.fingerprints) < 48


def test_small_worlds_are_simulated_whole() -> None:
    world = World({"pp": 2, "dp": 4}, by_stage)
    assert world.rounds == [tuple(range(8))]
    assert world.selection() == Selection((), ())


def test_if_every_rank_fails_no_more_are_simulated() -> None:
    world = World(LARGE, by_stage, fails=True)
    assert len(world.rounds) == 1
    assert world.representatives() == {}


def test_the_same_job_has_the_same_representatives() -> None:
    assert World(LARGE, by_stage).rounds == World(LARGE, by_stage).rounds


def test_before_more_is_known_a_rank_is_represented_by_that_of_its_stage() -> None:
    world = World(LARGE, by_stage)
    assert {world.plan.stage_rank(rank) for rank in range(4 * 64 * 8)} == set(world.rounds[0])


def note(world: World) -> str:
    (finding,) = [finding for finding in world.selection().findings if finding.code in {"ranks-assumed", "ranks-represented"}]
    return finding.message


@pytest.mark.parametrize(
    ("axes", "does", "common"),
    [
        (LARGE, by_stage, "do what the simulated rank of their stage does."),
        ({"dp": 4096}, lambda coordinate: 0, "do what a simulated rank does."),
        (LARGE, lambda at: (at["pp"], at["dp"] > 7), "are assumed to match the simulated rank of their stage and part of dp (0-7 / 8-63)."),
        (
            LARGE,
            lambda coordinate: (coordinate["dp"] > 7, coordinate["tp"] > 3),
            "are assumed to match the simulated rank of their stage, part of dp (0-7 / 8-63) and part of tp (0-3 / 4-7).",
        ),
    ],
    ids=["stages", "no stages", "parts of an axis", "parts of two axes"],
)  # fmt: skip
def test_the_note_says_what_ranks_have_in_common_with_their_representative(axes: Mapping[str, int], does: Does, common: str) -> None:
    world = World(axes, does)
    simulated = f"{len(world.fingerprints)} of {prod(axes.values())} ranks were simulated "
    assert note(world) == f"{simulated}(one class: no test of the rank; mesh corners and edges; 4 at random); the rest {common}"


def test_four_ranks_are_spot_checks() -> None:
    """A rank of each stage, the corners, the middle, and four more."""
    assert [len(ranks) for ranks in World(LARGE, by_stage).rounds] == [4, 3 + 4]


@pytest.mark.parametrize(("doubtful", "codes"), [(16, ["ranks-assumed"]), (17, ["ranks-assumed", "assumption-refuted"])])
def test_at_most_16_doubtful_ranks_are_simulated(doubtful: int, codes: list[str]) -> None:
    """Three ranks of the last dp index were simulated for other reasons: the corner, its neighbour, and the sample that represents them."""
    size = doubtful + 3
    world = World({"dp": 64, "tp": size}, lambda at: (at["dp"] == 63, at["dp"] == 63 and at["tp"] > size // 2))
    assert [finding.code for finding in world.selection().findings] == codes


@pytest.mark.parametrize(("size", "rounds"), [(64, [64]), (65, [1, 3 + 4])])
def test_worlds_of_at_most_64_ranks_are_simulated_whole(size: int, rounds: list[int]) -> None:
    assert [len(ranks) for ranks in World({"dp": size}, lambda coordinate: 0).rounds] == rounds


def test_unknown_ranks_are_not_counted_as_assumed() -> None:
    """The spot checks refute the representative of stage 1 alone."""
    world = World({"pp": 2, "dp": 3000}, lambda at: (at["pp"], at["pp"] == 1 and 10 < at["dp"] < 2900 and at["dp"] != 1500))
    selection = world.selection()
    represented = len(world.representatives())
    unknown = 6000 - len(world.fingerprints) - represented
    assert [finding.code for finding in selection.findings] == ["ranks-assumed", "assumption-refuted"]
    assert (
        f"; {len(world.representatives())} others are assumed to match the simulated rank of their stage." in selection.findings[0].message
    )
    assert selection.findings[1].message == (
        f"nothing is known about {unknown} ranks that were not simulated: not all ranks that rank 3001 would represent do the same."
    )
