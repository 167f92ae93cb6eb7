"""Random choices among ranks, followed rank by rank: the selected ranks must show whether, and which, ranks choose differently.

Only the function that chooses is run, in this process, with followed numbers; `tests/e2e/test_random_rank_programs.py` runs whole programs.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fakerun.call_site import CallSite
from fakerun.emulate.rank_tracking.rewriting import compile_followed
from fakerun.emulate.rank_tracking.tracker import RankTracker, active
from fakerun.emulate.rank_tracking.values import follow
from fakerun.job.ranks import AUTO_RANKS
from fakerun.job.request import JobRequest
from fakerun.launch.rank_selection import RepresentativeRanks
from fakerun.records.finding_code import FindingCode
from fakerun.records.observer import RankExpression
from fakerun.records.rank_function import Number, RankOperation, RankTest, UnfollowedUse
from fakerun.records.run import RankRecord
from tests.rank_choices import RANKS_PER_NODE, TP, Choice, random_choice

SEEDS = range(300)
"""The programs of `python -m tests.e2e.random_rank_programs`."""

UNCERTAIN = {FindingCode.RANKS_ASSUMED, FindingCode.RANKS_UNKNOWN, FindingCode.ASSUMPTION_REFUTED}


class Uses:
    """Implements `RankUseObserver`."""

    def __init__(self) -> None:
        self.tests: dict[RankTest, None] = {}
        self.unfollowed_uses: dict[UnfollowedUse, None] = {}

    def tested(self, expression: RankExpression, outcome: Number, frame: FrameType) -> None:
        self.tests[RankTest(function=expression.function, outcome=outcome, call_site=_site(frame))] = None

    def unfollowed(self, kind: str, frame: FrameType) -> None:
        self.unfollowed_uses[UnfollowedUse(kind=kind, call_site=_site(frame), count=1)] = None


def _site(frame: FrameType | None) -> CallSite | None:
    while frame is not None and not frame.f_code.co_filename.endswith("choosing.py"):
        frame = frame.f_back
    return None if frame is None else CallSite(path="choosing.py", line=frame.f_lineno, function=frame.f_code.co_name)


@pytest.fixture(autouse=True)
def nobody_listens_afterwards() -> Iterator[None]:
    yield
    active.tracker = None


class Program:
    """A program whose ranks run in this process, as far as they choose."""

    def __init__(self, choice: Choice, directory: Path) -> None:
        script = choice.write(directory)
        self.job = JobRequest(script=script, nnodes=choice.nodes, nproc_per_node=RANKS_PER_NODE, ranks=AUTO_RANKS).resolve()
        self._file = str(directory / "choosing.py")
        self._code = compile_followed(choice.module, self._file) or compile(choice.module, self._file, "exec")

    def record(self, rank: int) -> RankRecord:
        """A rank that leaves out the call makes one step less."""
        uses = Uses()
        active.tracker = tracker = RankTracker(uses, {})
        values: dict[str, Any] = {"__file__": self._file, "__name__": "choosing"}
        exec(self._code, values)
        frame = sys._getframe()
        node, local_rank = divmod(rank, RANKS_PER_NODE)
        places = ((RankOperation.RANK, rank), (RankOperation.LOCAL_RANK, local_rank), (RankOperation.NODE_RANK, node))
        numbers = [follow(plain, tracker.expressions.leaf(operation), tracker, frame) for operation, plain in places]
        is_chosen = bool(values["is_chosen"](*numbers, numbers[0] // TP, numbers[0] % TP))
        return RankRecord(rank=rank, rank_tests=tuple(uses.tests), unfollowed_uses=tuple(uses.unfollowed_uses), steps=1 if is_chosen else 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_selected_ranks_show_which_ranks_choose_differently(seed: int, tmp_path: Path) -> None:
    choice = random_choice(seed)
    program = Program(choice, tmp_path / "program")
    selection = RepresentativeRanks(program.job)
    done: dict[int, RankRecord] = {}
    while more := selection.next(done):
        done |= {rank: program.record(rank) for rank in more}
    run = selection.run_record(done, is_complete=True)
    chosen = set(choice.chosen)
    assert {rank for rank, record in done.items() if record.steps == 1} == chosen & done.keys()
    assumed = {rank: each.representative for each in run.assumed for rank in each.ranks}
    wrong = [rank for rank, representative in assumed.items() if (rank in chosen) != (representative in chosen)]
    codes = {finding.code for finding in run.findings}
    if choice.is_followed:
        assert len(assumed) + len(done) == choice.world_size
        assert codes <= {FindingCode.RANKS_REPRESENTED}
    if any(record.unfollowed_uses for record in done.values()) and assumed:
        assert codes & UNCERTAIN
    else:  # also if no rank comes as far as what could not be followed
        assert wrong == []
