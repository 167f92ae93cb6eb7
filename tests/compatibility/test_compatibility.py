"""Every case of the suite: fakerun's report of each rank matches the case, and so does the program under torchrun."""

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.compatibility import table
from tests.compatibility.case import PROGRAMS, Case
from tests.compatibility.cases import AREAS, CASES
from tests.compatibility.dry import DryRun, dry_run
from tests.oracles.programs import CallIdentity, identity, installed_torch
from tests.oracles.torchrun import Outcome, Run, record_many
from tests.shared_results import SharedResults

MOST_LINES = 60

EVERY_CASE = [pytest.param(case, id=case.id) for case in CASES]


@pytest.fixture
def dry(case: Case, shared_results: SharedResults) -> DryRun:
    """What fakerun reports of the case."""
    skip_before_2_13(case.fails_before_2_13)
    return shared_results.get(f"dry/{case.id}", lambda: dry_run(case))


def skip_before_2_13(why: str) -> None:
    """Torch 2.11 was looked at; which of the two versions between behaves as it does was not."""
    if why and installed_torch() < (2, 13):
        pytest.skip(why)


@pytest.fixture
def real(case: Case, shared_results: SharedResults, request: pytest.FixtureRequest) -> Outcome:
    """What the case's program really does. The first one asked for also runs all others of its world size that will be asked for."""
    wanted = {id for item in request.session.items if (id := case_id(item)) is not None}
    cases = [other for other in CASES if other.world_size == case.world_size and other.id in wanted]
    return shared_results.get(f"real/{case.world_size}", lambda: outcomes(cases, case.world_size))[case.id]


def case_id(item: pytest.Item) -> str | None:
    case = item.callspec.params.get("case") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    return case.id if isinstance(case, Case) else None


def outcomes(cases: Sequence[Case], world_size: int) -> Mapping[str, Outcome]:
    with tempfile.TemporaryDirectory() as directory:
        return record_many([run_of(case, Path(directory)) for case in cases], world_size)


def run_of(case: Case, parent: Path) -> Run:
    directory = parent / case.id
    directory.mkdir(parents=True)
    return Run(name=case.id, script=case.path, args=tuple(argument.format(directory=directory) for argument in case.args))


# ---- Every case


@pytest.mark.parametrize("case", EVERY_CASE)
def test_every_rank_issues_what_the_case_declares(case: Case, dry: DryRun) -> None:
    skip_before_2_13(case.other_before_2_13)
    for rank in range(case.world_size):
        assert dict(dry.operations(rank)) == case.operations_of(rank), f"rank {rank}"
    assert dry.findings == case.findings


@pytest.mark.parametrize("case", EVERY_CASE)
def test_every_rank_issues_what_it_really_issues(case: Case, dry: DryRun, real: Outcome) -> None:
    skip_before_2_13(case.not_on_gloo_before_2_13)
    if case.not_on_gloo is not None:
        assert real.failure is not None, f"gloo can run {case.id}: compare it"
        assert case.not_on_gloo.says in real.failure
        return
    assert real.failure is None, real.failure
    for rank, calls in enumerate(real.calls):
        assert without_what_is_only_on_cuda(case, dry.calls(rank)) == as_on_cuda(case, map(identity, calls)), f"rank {rank}"


def without_what_is_only_on_cuda(case: Case, calls: list[CallIdentity]) -> list[CallIdentity]:
    """The calls less those that the case declares to be on CUDA only, which must be there."""
    for difference in case.only_on_cuda:
        assert any(map(difference.recognise, calls)), f"no call of {case.id} is that {difference.why}"
    return [call for call in calls if not any(difference.recognise(call) for difference in case.only_on_cuda)]


def as_on_cuda(case: Case, calls: Iterable[CallIdentity]) -> list[CallIdentity]:
    """The calls, with those that the case declares to be others on CUDA translated, of which there must be some."""
    real = list(calls)
    for difference in case.other_on_cuda:
        translated = [difference.translate(call) for call in real]
        assert translated != real, f"no call of {case.id} is that {difference.why}"
        real = translated
    return real


# ---- The suite itself


def test_every_program_is_in_the_suite_once_for_each_variant() -> None:
    assert {path.relative_to(PROGRAMS).with_suffix("").as_posix() for path in PROGRAMS.rglob("*.py")} == {case.program for case in CASES}
    assert not [id for id, count in Counter(case.id for case in CASES).items() if count > 1]
    assert all(case.program.startswith(f"{area}/") for area, cases in AREAS.items() for case in cases)


@pytest.mark.parametrize("path", sorted(PROGRAMS.rglob("*.py")), ids=lambda path: path.stem)
def test_a_program_is_a_short_example_that_knows_nothing_of_fakerun(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < MOST_LINES
    assert "fakerun" not in text
    assert text.startswith('"""')


def test_the_page_shows_the_cases() -> None:
    assert table.PAGE.read_text() == table.page(), "python -m tests.compatibility.table"
