"""Which ranks are simulated next: those that the job lists, or representatives of all."""

from dataclasses import replace
from pathlib import Path

from fakerun.job.mesh import parse_mesh
from fakerun.job.ranks import AUTO_RANKS, RankChoice
from fakerun.job.request import JobRequest
from fakerun.launch.rank_selection import ListedRanks, RepresentativeRanks, selection_for
from fakerun.records.run import RankRecord

LISTED = JobRequest(script=Path("train.py"), world_size=8, ranks=RankChoice.of([1, 4])).resolve()
AUTO = JobRequest(script=Path("train.py"), mesh=parse_mesh("dp=512,tp=8"), ranks=AUTO_RANKS).resolve()


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


def test_nothing_is_assumed_after_an_interruption() -> None:
    selection = RepresentativeRanks(AUTO)
    done = run_all(selection)
    assert selection.run_record(done, is_complete=False) == replace(selection.run_record(done, is_complete=False), assumed=())


def test_before_the_first_choice_a_rank_represents_itself() -> None:
    assert RepresentativeRanks(AUTO).representative_of(5) == 5
