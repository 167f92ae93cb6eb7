"""Which ranks are simulated next: those that the job lists, or representatives of all."""

from dataclasses import replace
from pathlib import Path

from fakerun.job.budgets import Budgets, Required
from fakerun.job.mesh import parse_mesh
from fakerun.job.ranks import AUTO_RANKS, RankChoice
from fakerun.job.request import JobRequest
from fakerun.launch.rank_selection import ListedRanks, RepresentativeRanks, selection_for
from fakerun.records.rank_function import RankTest, UnfollowedUse
from fakerun.records.run import GroupCreation, RankRecord
from tests.unit.records_by_hand import is_rank, site

LISTED = JobRequest(script=Path("train.py"), world_size=8, ranks=RankChoice.of([1, 4])).resolve()
AUTO = JobRequest(script=Path("train.py"), mesh=parse_mesh("dp=512,tp=8"), ranks=AUTO_RANKS).resolve()

SPOT_CHECKS = ((0, None), (20, None), (20, 7), (20, 8))
"""`--samples` and `--seed`."""


def records(*ranks: int) -> dict[int, RankRecord]:
    return {rank: RankRecord(rank=rank) for rank in ranks}


def test_the_kind_follows_from_the_job() -> None:
    assert isinstance(selection_for(LISTED), ListedRanks)
    assert isinstance(selection_for(AUTO), RepresentativeRanks)


def test_listed_ranks_that_have_no_record_are_next() -> None:
    selection = ListedRanks(LISTED)
    assert selection.next({}) == (1, 4)
    assert selection.next(records(4)) == (1,)
    assert selection.next(records(1, 4)) == ()


def test_a_rank_that_is_not_listed_was_added() -> None:
    run = ListedRanks(LISTED).run_record(records(4, 0, 1), is_complete=True)
    assert ([record.rank for record in run.ranks], run.added, run.is_complete) == ([0, 1, 4], (0,), True)


def run_all(selection: RepresentativeRanks) -> dict[int, RankRecord]:
    """All ranks do nothing."""
    done: dict[int, RankRecord] = {}
    while more := selection.next(done):
        assert not done.keys() & set(more)
        done |= records(*more)
    return done


def test_representatives_are_chosen_until_all_ranks_are_represented() -> None:
    selection = RepresentativeRanks(AUTO)
    done = run_all(selection)
    assert 0 < len(done) < 64
    run = selection.run_record(done, is_complete=True)
    assert sorted((*done, *(rank for each in run.assumed for rank in each.ranks))) == list(range(4096))
    assert {selection.representative_of(rank) for rank in range(4096)} <= done.keys()


def test_what_simulated_ranks_test_makes_classes() -> None:
    """Rank 3000 skips the steps; all ranks ask whether they are it."""
    test = RankTest(function=is_rank(3000), outcome=0, call_site=None)
    selection = RepresentativeRanks(AUTO)
    done: dict[int, RankRecord] = {}
    while more := selection.next(done):
        done |= {rank: RankRecord(rank=rank, rank_tests=(test,), steps=rank != 3000) for rank in more}
    run = selection.run_record(done, is_complete=True)
    assert 3000 in done
    assert [finding.code for finding in run.findings] == ["ranks-represented"]


def test_uses_of_the_rank_that_were_not_followed_are_named() -> None:
    use = UnfollowedUse(kind="index", call_site=site("a.py:3"), count=2)
    selection = RepresentativeRanks(AUTO)
    done: dict[int, RankRecord] = {}
    while more := selection.next(done):
        done |= {rank: RankRecord(rank=rank, unfollowed_uses=(use,)) for rank in more}
    (finding,) = selection.run_record(done, is_complete=True).findings
    assert finding.code == "ranks-assumed"
    assert finding.message.endswith("1 use of the rank was not followed: index at a.py:3 (2 times).")


def test_a_limit_changes_no_spot_check() -> None:
    limited = replace(AUTO, budgets=Budgets(fits=Required(source="fakerun.yaml:4")), error_on_collective_source="fakerun.yaml:5")
    assert run_all(RepresentativeRanks(limited)) == run_all(RepresentativeRanks(AUTO))


def test_the_seed_and_the_number_of_spot_checks_are_those_of_the_job() -> None:
    chosen = [set(run_all(RepresentativeRanks(replace(AUTO, samples=samples, seed=seed)))) for samples, seed in SPOT_CHECKS]
    none, some, seven, eight = chosen
    assert {len(each - none) for each in (some, seven, eight)} == {20}
    assert len({frozenset(each) for each in chosen}) == 4


def test_ranks_in_no_group_of_the_kind_are_a_class() -> None:
    """Every third rank is in a group; nobody tests the rank."""
    third = GroupCreation(ranks=tuple(range(0, 4096, 3)), before=0, call_site=site("a.py:3"))
    selection = RepresentativeRanks(AUTO)
    done: dict[int, RankRecord] = {}
    while more := selection.next(done):
        done |= {rank: RankRecord(rank=rank, group_creations=(third,), steps=rank % 3 == 0) for rank in more}
    run = selection.run_record(done, is_complete=True)
    assert all(rank % 3 == 0 if each.representative % 3 == 0 else rank % 3 for each in run.assumed for rank in each.ranks)
    assert [finding.code for finding in run.findings] == ["ranks-represented"]
    assert "2 classes that the members of process groups tell apart" in run.findings[0].message


def test_nothing_is_assumed_after_an_interruption() -> None:
    selection = RepresentativeRanks(AUTO)
    done = run_all(selection)
    assert selection.run_record(done, is_complete=False) == replace(selection.run_record(done, is_complete=False), assumed=())


def test_before_the_first_choice_a_rank_represents_itself() -> None:
    assert RepresentativeRanks(AUTO).representative_of(5) == 5
