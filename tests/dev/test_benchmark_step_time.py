"""`scripts/dev/benchmark_step_time.py`: its table, and a small run that is measured."""

import time
from pathlib import Path

import pytest
from dev import benchmark_step_time
from dev.benchmark_step_time import JOBS, PARTS, REPOSITORY, Clock, least, main, parse_args, sample, table

from tests.commands import fakerun


def seconds(reading: float, pricing: float, playing: float, explaining: float) -> dict[str, float]:
    return dict(zip((*PARTS, "step_s"), (reading, pricing, playing, explaining, 1.0), strict=True))


def test_the_table_has_the_least_seconds_and_their_ratio() -> None:
    ours = [seconds(1.0, 0.5, 0.25, 0.125), seconds(2.0, 0.25, 0.5, 0.125)]
    rows = [line.split() for line in table(ours, [seconds(2.0, 0.5, 0.0, 0.25)]).splitlines()]
    assert rows[0] == ["part", "cpu", "s", "max", "other", "/", "other"]
    assert rows[1:5] == [
        ["reading", "1.000", "2.000", "2.000", "0.50"],
        ["pricing", "0.250", "0.500", "0.500", "0.50"],
        ["playing", "0.250", "0.500", "0.000", "-"],
        ["explaining", "0.125", "0.125", "0.250", "0.50"],
    ]
    assert rows[5] == ["step", "time", "0.875", "0.875", "0.750", "1.17"], "what a report takes longer by: without reading"
    assert [len(line.split()) for line in table(ours, []).splitlines()] == [4, 3, 3, 3, 3, 4]
    assert least(ours) == seconds(1.0, 0.25, 0.25, 0.125)


def test_a_clock_adds_up_calls_that_fail_too() -> None:
    def fail() -> None:
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass
        raise ValueError("too late")

    clock = Clock()
    for _ in range(2):
        with pytest.raises(ValueError, match="too late"):
            clock.timed("failing", fail)()
    assert clock.timed("one", lambda one, *, two: one + two)(1, two=2) == 3
    assert clock.seconds["failing"] >= 0.02
    assert clock.seconds.keys() == {"failing", "one"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "a", "--keep", "b"], "--keep is for a run that is made"),
        (["--against", "/nowhere"], "--against /nowhere: no checkout of fakerun there"),
    ],
)
def test_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_args(words)
    assert message in capsys.readouterr().err


def test_the_jobs_that_are_run_are_there() -> None:
    assert all((REPOSITORY / words[0]).is_file() for words in JOBS.values())


def test_a_kept_run_is_measured_beside_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    words = (
        "scripts/train_fsdp.py",
        "--world-size",
        "2",
        "--hardware",
        "h100-80gb",
        "--run-dir",
        str(run),
        "--",
        "--model",
        "debug",
        "--seq-len",
        "128",
    )
    done = fakerun(*words)
    assert done.returncode == 0, done.stderr
    main(["--run", str(run), "--rounds", "1", "--against", str(REPOSITORY)])
    title, _, *lines, step = capsys.readouterr().out.splitlines()
    assert title.startswith(f"{run}, 1 rounds, Python ")
    figures = {line.split()[0]: [float(cell) for cell in line.split()[-4:]] for line in lines}
    assert list(figures) == [*PARTS, "step"]
    assert all(ours > 0 and ratio > 0 for ours, _, _, ratio in figures.values())
    ours, theirs = (text.rpartition(" s")[0].split()[-1] for text in step.split(", with the other version "))
    assert ours == theirs
    assert float(ours) > 0


def test_a_run_without_step_time_says_why(tmp_path: Path) -> None:
    run, script = tmp_path / "run", tmp_path / "script.py"
    script.write_text("print()")
    assert fakerun(str(script), "--world-size", "1", "--run-dir", str(run)).returncode == 0
    with pytest.raises(SystemExit, match="no step time: "):
        sample(benchmark_step_time.REPOSITORY, run)
