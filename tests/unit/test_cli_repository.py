"""Which files of the repository a report names, from wherever the command is run."""

from pathlib import Path

import pytest

from fakerun.call_site import CallSite
from fakerun.cli.repository import job_report, repository_root
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding
from fakerun.records.run import RankRecord
from fakerun.report import Report, build_report
from tests.unit.records_by_hand import job, run


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GITHUB_WORKSPACE", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "repository"
    for file in ("training/train.py", "training/models/net.py", "training/pkg/__main__.py", "lib/shared.py"):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    (root / ".git").mkdir()
    (tmp_path / "outside.py").touch()
    return root


def report(*paths: str, **fields: object) -> Report:
    findings = tuple(Finding(code=FindingCode.NEVER_WAITED, message=path, call_site=CallSite(path, 1)) for path in paths)
    return build_report(job(**fields), run(RankRecord(rank=0, findings=findings)))


def test_the_root_is_where_git_is(repository: Path) -> None:
    assert repository_root(repository / "training" / "models") == repository


def test_a_file_as_in_a_worktree_is_a_root_too(repository: Path) -> None:
    (repository / "training" / ".git").write_text("gitdir: ../.git/worktrees/training")
    assert repository_root(repository / "training") == repository / "training"


@pytest.mark.parametrize("name", ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"])
def test_ci_says_where_the_root_is(repository: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, str(repository.parent))
    assert repository_root(repository / "training") == repository.parent


@pytest.mark.parametrize("value", ["", "/nowhere", "lib"])
def test_a_variable_that_leads_elsewhere_is_none(repository: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.setenv("GITHUB_WORKSPACE", value)
    assert repository_root(repository / "training") == repository


def test_without_a_repository_it_is_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    monkeypatch.delenv("CI_PROJECT_DIR", raising=False)
    assert not any((each / ".git").exists() for each in (tmp_path, *tmp_path.parents))
    assert repository_root(tmp_path) == tmp_path


def test_files_are_looked_for_where_the_job_ran_then_beside_the_script(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = report("models/net.py", "net.py", "torch/nn/linear.py", "../../outside.py", "a\0b", "x" * 5000)
    monkeypatch.chdir(repository / "training")
    assert job_report(here).paths == {"train.py": "training/train.py", "models/net.py": "training/models/net.py"}
    monkeypatch.chdir(repository)
    assert job_report(report("models/net.py", "lib/shared.py", script=Path("training/train.py"))).paths == {
        "training/train.py": "training/train.py",
        "models/net.py": "training/models/net.py",
        "lib/shared.py": "lib/shared.py",
    }


def test_a_job_with_a_directory_of_its_own_ran_there(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    found = job_report(report("models/net.py", "lib/shared.py", workdir=repository / "training"))
    assert found.paths == {"train.py": "training/train.py", "models/net.py": "training/models/net.py", "lib/shared.py": "lib/shared.py"}


def test_a_program_that_is_a_module(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    found = job_report(report(script=None, module="training.models.net"))
    assert (found.name, found.paths) == ("training.models.net", {"-m training.models.net": "training/models/net.py"})
    package = job_report(report(script=None, module="pkg", workdir=repository / "training"))
    assert package.paths == {"-m pkg": "training/pkg/__main__.py"}
    assert job_report(report(script=None, module="installed.elsewhere")).paths == {}


def test_a_job_has_its_own_name_or_that_of_the_program() -> None:
    assert job_report(report()).name == "train.py"
    assert job_report(report(), name="dense").name == "dense"


def test_a_link_out_of_the_repository_is_outside(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository / "linked.py").symlink_to(repository.parent / "outside.py")
    (repository / "loop.py").symlink_to("loop.py")
    monkeypatch.chdir(repository)
    assert job_report(report("linked.py", "loop.py")).paths == {}
