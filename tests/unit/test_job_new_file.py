"""The text of new job files: it is read back as what was to be written, whatever stands in it."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fakerun.job.check_file import load_jobs
from fakerun.job.file_schema import ID
from fakerun.job.importers.imported import ImportedJob
from fakerun.job.importers.source import Note
from fakerun.job.new_file import first_file, imported_file
from fakerun.job.steps import ALL_STEPS

JOB = ImportedJob(name="train", line=1, script="train.py", nnodes=2, nproc_per_node=4)

DIFFICULT = (
    *(
        "no",
        "010",
        "2:4",
        "1e-3",
        "3e-4",
        "1.50",
        "-1",
        "true",
        "null",
        "~",
        "",
        " ",
        "a: b",
        "a # b",
        "#",
        "- a",
        "[1, 2]",
        "{a: 1}",
        "*a",
    ),
    *(
        "&a",
        "!a",
        "|",
        ">",
        "%",
        "@a",
        "`a`",
        "'",
        '"',
        "a'b\"c",
        "\\",
        "\\n",
        "a\nb",
        "\t",
        "é",
        "日本",
        "\u2028",
        "\x07",
        "$HOME",
        "$${rank}",
    ),
    *(
        "x" * 300,
        "y " * 200,
        "2024-01-01",
        "0x10",
        "1_000",
        "1,000",
        "=",
        "<<",
        "?",
        "--flag=a,b",
        "00:10:00",
        "+1",
        ".5",
        "5.",
        "1.",
        "inf",
        ".nan",
    ),
)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").touch()
    return tmp_path


def written(job: ImportedJob) -> str:
    text = imported_file([job], "origin")
    Path("fakerun.yaml").write_text(text)
    return text


@pytest.mark.parametrize("text", DIFFICULT)
def test_arguments_and_variables_are_read_as_they_were(text: str) -> None:
    written(replace(JOB, args=(text, "--x", text), env=(("A", text), ("B", "1"))))
    (job,) = load_jobs(Path("fakerun.yaml"))
    assert job.request.args == (text, "--x", text)
    assert job.request.env == {"A": text, "B": "1"}


def test_all_arguments_at_once() -> None:
    written(replace(JOB, args=DIFFICULT, env=tuple((f"V{index}", text) for index, text in enumerate(DIFFICULT))))
    (job,) = load_jobs(Path("fakerun.yaml"))
    assert job.request.args == DIFFICULT
    assert tuple(job.request.env.values()) == DIFFICULT


@pytest.mark.parametrize("script", ["no", "a b.py", "a: b.py", "#.py", "[x].py", "'.py", "-.py", "1"])
def test_names_of_scripts(script: str) -> None:
    Path(script).touch()
    written(replace(JOB, script=script))
    (job,) = load_jobs(Path("fakerun.yaml"))
    assert job.request.script == Path(script)


@pytest.mark.parametrize("name", ["no", "1", "1.5", "a-b", "true", "_x"])
def test_names_of_jobs(name: str) -> None:
    written(replace(JOB, name=name))
    assert [job.name for job in load_jobs(Path("fakerun.yaml"))] == [name]


def test_a_note_cannot_leave_its_comment() -> None:
    note = Note(line=3, text="a\nscript: evil.py\r\x1b[31m\u2028jobs: {}" + " long" * 100)
    text = written(replace(JOB, notes=(note,)))
    (job,) = load_jobs(Path("fakerun.yaml"))
    assert job.request.script == Path("train.py")
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 130


def test_a_complete_job() -> None:
    Path("src").mkdir()
    text = written(
        replace(JOB, workdir="src", mesh=(("dp", 2), ("tp", 4)), hardware="h200", notes=(Note(line=7, text="not carried over: --x"),))
    )
    assert text == (
        f"# yaml-language-server: $schema={ID}\n#\n# Jobs from origin. Lines in comments are lines of that file.\nversion: 1\n\njobs:\n"
        "  train:\n    # Line 7: not carried over: --x\n    script: train.py\n    workdir: src\n    nnodes: 2\n    nproc_per_node: 4\n"
        "    mesh: {dp: 2, tp: 4}\n    hardware: h200\n"
    )
    (job,) = load_jobs(Path("fakerun.yaml"))
    assert job.request.mesh is not None
    assert job.request.mesh.world_size == 8


def test_a_job_that_is_not_complete_is_not_written() -> None:
    for job in (replace(JOB, script=None), replace(JOB, nproc_per_node=None), replace(JOB, module="a")):
        with pytest.raises(ValueError, match="train is not complete"):
            imported_file([job], "origin")


def test_the_first_file_runs_and_says_what_may_be_changed() -> None:
    text = first_file("train.py")
    Path("fakerun.yaml").write_text(text)
    (job,) = load_jobs(Path("fakerun.yaml"))
    assert job.request.resolve().world_size == 8
    assert job.request.steps not in (None, ALL_STEPS)
    assert text.startswith(f"# yaml-language-server: $schema={ID}\n")


def test_the_first_file_is_as_wide_as_a_terminal() -> None:
    assert max(map(len, first_file("train.py").splitlines())) <= 79


def test_what_is_commented_out_of_the_first_file_is_right() -> None:
    lines = first_file("train.py").splitlines()
    keys = ("args", "env", "mesh", "budgets")
    commented = (*(f"# {key}:" for key in keys), "#   ")
    shown = "\n".join(line.replace("# ", "", 1) if line.strip().startswith(commented) else line for line in lines)
    Path("fakerun.yaml").write_text(shown)
    (job,) = load_jobs(Path("fakerun.yaml"))
    assert job.request.args
    assert job.request.env
    assert job.request.mesh is not None
    assert job.request.budgets is not None
    assert set(keys) <= yaml.safe_load(shown)["jobs"]["train"].keys()
