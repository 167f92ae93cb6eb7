"""The text of a baseline: what it looks like, and what is said of a file that is none."""

from pathlib import Path

import pytest

from fakerun.analysis.baseline.text import baseline_text
from fakerun.cli.baseline_files import load_baseline, write_baseline
from fakerun.errors import OutputError, UsageError
from fakerun.report import build_report
from fakerun.report.build_baseline import baseline_of
from tests.unit.records_by_hand import llama_8b_job, llama_8b_rank, run

GOLDEN = Path(__file__).parent / "golden" / "llama_8b.baseline.yaml"


def llama_text() -> str:
    return baseline_text(baseline_of(build_report(llama_8b_job(), run(llama_8b_rank()))))


def test_exact_text() -> None:
    assert llama_text() == GOLDEN.read_text(encoding="utf-8")


def test_a_rank_of_the_same_class_has_the_same_schedule() -> None:
    """Another rank of the job: its groups and its device have other numbers, and the text has none of them."""
    other = baseline_text(baseline_of(build_report(llama_8b_job(), run(llama_8b_rank(5)))))
    assert other.replace("dp=1, tp=1", "dp=0, tp=0") == llama_text()


def test_it_is_read_back_and_not_written_again(tmp_path: Path) -> None:
    baseline = baseline_of(build_report(llama_8b_job(), run(llama_8b_rank())))
    path = tmp_path / "new" / "known.yaml"
    assert write_baseline(path, baseline)
    assert load_baseline(path) == baseline
    assert not write_baseline(path, baseline)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"baseline .*file/known.yaml"):
        write_baseline(tmp_path / "file" / "known.yaml", load_baseline(GOLDEN))


CALL = "all_gather_into_tensor bfloat16 109056000 B on dp (2) in forward of layers.*"

BROKEN = {
    "another version": ("version: 1", "version: 2", ":4: version: must be 1: the file is of another version of fakerun"),
    "an unknown key": ("version: 1", "version: 1\nextra: 1", ":5: extra: extra inputs are not permitted"),
    "no size of a call": (CALL, CALL.replace(" B ", " "), "is not a call: it has no size"),
    "no group": (CALL, CALL.replace(" on dp (2)", ""), "is not a call: its group is missing"),
    "no size of a group": (CALL, CALL.replace("(2)", "2"), "is not a call: the size of its group is missing"),
    "an unknown phase": (CALL, CALL.replace("forward", "forwards"), "is not a call: its phase must be one of forward, backward"),
    "words left over": (CALL, f"{CALL} of other", "is not a call: 'of' is not expected"),
    "a repetition of nothing": ("32 x:", "x:", "must be a call, or a repetition of calls, as in '32 x'"),
    "too many calls": ("32 x:", "999999999 x:", "has more than 10000000 calls"),
    "no such schedule": ("schedule: dp=0, tp=0", "schedule: other", ": classes[0].schedule: there is no schedule 'other' in the file"),
    "a negative size": ("allocated: ", "allocated: -", "input should be greater than or equal to 0"),
    "a sequence that is not there": (f"- {CALL}", "- 2 x: other", "there is no sequence 'other' in the file"),
    "no mapping": (None, "[]", ":1: input should be a valid dictionary"),
    "nothing": (None, "", ":1: the file is empty"),
    "a tag": ("version: 1", "version: !!python/object:os.system 1", "the tag tag:yaml.org,2002:python/object:os.system is not allowed"),
}


@pytest.mark.parametrize(("old", "new", "message"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_no_baseline(old: str | None, new: str, message: str, tmp_path: Path) -> None:
    text = GOLDEN.read_text(encoding="utf-8")
    assert old is None or old in text
    path = tmp_path / "known.yaml"
    path.write_text(new if old is None else text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UsageError) as error:
        load_baseline(path)
    assert message in str(error.value)


def test_a_sequence_that_is_a_part_of_itself(tmp_path: Path) -> None:
    text = GOLDEN.read_text(encoding="utf-8").replace(f"- {CALL}", "- 2 x: a", 1) + "sequences:\n  a:\n  - 2 x: b\n  b:\n  - 2 x: a\n"
    (tmp_path / "known.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match="the sequence 'a' is a part of itself"):
        load_baseline(tmp_path / "known.yaml")
