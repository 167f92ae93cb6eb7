"""The comparison of `scripts/dev/validate_on_gpu.py`, on what was measured on two cards."""

import copy
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.oracles.gpu_programs import CARDS, document

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from dev import validate_on_gpu
from dev.gpu import compare_programs
from dev.gpu.reduced_programs import counters_of, reduced, segments_of, trace_of
from dev.gpu.tolerances import KNOWN, TOLERANCES, differences, tolerance_of

CARD = "h200"
PROGRAM = "kind-fsdp2"
"""One of which no requests are kept: to compare them takes longest."""


def only(card: str, *names: str) -> dict[str, Any]:
    """The document of a card with these programs only, to be changed."""
    whole = document(card)
    return {**whole, "programs": {name: copy.deepcopy(whole["programs"][name]) for name in names}}


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", compresslevel=1) as file:
        json.dump(content, file)
    return path


def as_predicted(program: dict[str, Any]) -> dict[str, Any]:
    """A prediction that hits: what programs.py writes, with the counters, segments and requests that were measured."""
    segments = [
        {
            "total_size": kind.nbytes,
            "segment_type": kind.segment_type,
            "stream": 0 if kind.on_default_stream else 69,
            "is_expandable": kind.is_expandable,
            "segment_pool_id": [0, int(kind.in_private_pool)],
            "blocks": [],
        }
        for kind, count in segments_of(program).items()
        for _ in range(count)
    ]
    described = {"settings": program["settings"]}
    return {"program": described, "stats": [counters_of(program)], "segments": segments, "trace": list(trace_of(program))}


@pytest.fixture
def compared(tmp_path: Path) -> Callable[[str, dict[str, Any]], int]:
    """Compares what a card is said to have measured with predictions of what it did measure; the exit status."""

    def compare(card: str, measured: dict[str, Any]) -> int:
        predicted = tmp_path / "predicted"
        for name in measured["programs"].keys() & document(card)["programs"].keys():
            written(predicted / card / f"{name}.json.gz", as_predicted(document(card)["programs"][name]))
        path = written(tmp_path / "programs.json.gz", measured)
        return compare_programs.main([str(path), "--predicted", str(predicted), "--at-once", "1"])

    return compare


@pytest.mark.parametrize("card", CARDS)
def test_what_is_predicted_to_the_byte_agrees(card: str, compared: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    measured = document(card)
    assert compared(card, measured) == 0
    printed = capsys.readouterr().out
    assert "100.0 % of " in printed
    assert "DIFFERS" not in printed
    assert f"{measured['environment']['device']}: agrees" in printed


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("counter", ["reserved_bytes.all.peak", "num_ooms", "inactive_split_bytes.large_pool.peak", "allocation.all.freed"])
def test_a_counter_that_is_off_fails_and_is_named(
    card: str, counter: str, compared: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    measured = only(card, PROGRAM)
    counters = measured["programs"][PROGRAM]["counters"]
    counters[counter] += 2 * tolerance_of(counter).allowed(counters[counter]) + 1
    assert compared(card, measured) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{PROGRAM}: ")]
    assert line.startswith(f"{PROGRAM}: {counter}: measured {counters[counter]:,}, predicted ")


def test_a_counter_within_its_tolerance_agrees(compared: Callable[..., int]) -> None:
    measured = only(CARD, PROGRAM)
    counters = measured["programs"][PROGRAM]["counters"]
    for counter in counters:
        counters[counter] += tolerance_of(counter).allowed(counters[counter])
    assert compared(CARD, measured) == 0


def test_a_segment_too_many_fails_and_is_named(compared: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    measured = only(CARD, PROGRAM)
    largest = max(measured["programs"][PROGRAM]["segments"])
    largest[-1] += 1
    assert compared(CARD, measured) == 1
    assert f"{PROGRAM}: segments, {largest[0] / 2**20:,.0f} MiB for large blocks" in capsys.readouterr().out


def test_a_program_that_is_not_predicted_fails_and_one_that_was_not_measured_does_not(
    compared: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    measured = only(CARD, PROGRAM)
    measured["programs"]["fsdp-8b"] = {"error": "no time left"}
    assert compared(CARD, measured) == 0
    assert "fsdp-8b: not measured: no time left" in capsys.readouterr().out
    measured["programs"]["of-yesterday"] = measured["programs"][PROGRAM]
    assert compared(CARD, measured) == 1
    assert "of-yesterday: not predicted: not a program any more" in capsys.readouterr().out


def test_known_differences_are_said_and_fail_nothing(compared: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    measured = only(CARD, "kind-ddp")
    measured["programs"]["kind-ddp"]["counters"]["allocated_bytes.all.current"] *= 2
    assert compared(CARD, measured) == 0
    assert f"(known: {KNOWN[0].why})" in capsys.readouterr().out


@pytest.mark.parametrize("card", CARDS)
def test_every_counter_has_one_tolerance_and_every_tolerance_counters(card: str) -> None:
    counters = {counter for program in document(card)["programs"].values() for counter in counters_of(program)}
    assert len(counters) == 122
    assert {tolerance_of(counter).what for counter in counters} == {each.what for each in TOLERANCES}


def test_the_reduced_file_has_what_was_compared() -> None:
    """What the programs write and what is kept of it are compared alike."""
    program = as_predicted(document(CARD)["programs"][PROGRAM])
    whole = {"environment": document(CARD)["environment"], "steps": 3, "programs": {PROGRAM: program, "fsdp-8b": {"error": "no time"}}}
    kept = json.loads(gzip.decompress(reduced(whole, ())))
    assert list(kept["programs"]) == [PROGRAM]
    assert list(differences(PROGRAM, kept["programs"][PROGRAM], program)) == []


def test_the_one_command_compares_what_it_measured(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    measured = only(CARD, PROGRAM)
    program = measured["programs"][PROGRAM]
    written(tmp_path / "predicted" / CARD / f"{PROGRAM}.json.gz", as_predicted(program))
    written(tmp_path / "kinds.json.gz", measured)
    program["counters"]["segment.all.peak"] += 3
    written(tmp_path / "programs.json.gz", measured)  # the later of two files of the same program
    assert validate_on_gpu.main(["--out", str(tmp_path), "--only-compare"]) == 1
    assert f"{PROGRAM}: segment.all.peak: measured" in capfd.readouterr().out


def test_where_fakerun_cannot_be_imported_the_command_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    package = tmp_path / "elsewhere" / "fakerun"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ModuleNotFoundError('typer is not here')")
    monkeypatch.setattr(validate_on_gpu, "ROOT", package.parent)
    path = written(tmp_path / "kinds.json.gz", only(CARD, PROGRAM))
    assert validate_on_gpu.compare(tmp_path) == 0
    said = capsys.readouterr().out
    assert "typer is not here" in said
    assert said.splitlines()[-1].startswith("python ")
    assert f"compare_programs.py {path}" in said


def test_there_must_be_something_to_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate_on_gpu.compare(tmp_path) == 1
    assert "it has none of kinds.json.gz, programs.json.gz" in capsys.readouterr().out


def test_what_runs_by_default_takes_less_than_five_minutes() -> None:
    parts = validate_on_gpu.parse_args(["--out", "x"]).parts
    assert sorted(parts) == sorted(validate_on_gpu.COMPARED)
    assert validate_on_gpu.seconds_of(parts) + validate_on_gpu.COMPARING_SECONDS <= 300


def test_the_parts_of_a_phase_are_scaled_together() -> None:
    phases = validate_on_gpu.planned(["kinds", "warm_up", "outside_memory"], 26)
    assert [list(phase.parts) for phase in phases] == [["kinds", "warm_up"], ["outside_memory"]]
    assert [phase.seconds for phase in phases] == pytest.approx([11, 15])


def test_a_part_that_is_not_known_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        validate_on_gpu.parse_args(["--out", "x", "--parts", "kinds,kind"])
    assert "no such part: kind; known: kinds, warm_up" in capsys.readouterr().err


@pytest.mark.parametrize("card", CARDS)
def test_the_file_for_tests_is_named_after_card_and_torch(card: str, tmp_path: Path) -> None:
    whole = only(card, PROGRAM)
    whole["programs"] = {PROGRAM: as_predicted(whole["programs"][PROGRAM])}
    path = validate_on_gpu.write_for_tests([written(tmp_path / "kinds.json.gz", whole)], tmp_path)
    assert path.name == CARDS[card]
