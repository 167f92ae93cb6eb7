"""`scripts/dev/collective_times.py`: the three forms of its sources, and the file of fakerun."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dev import collective_times
from dev.collective_times import SOURCES, BusRates, Clones, Origin, Printed, converted, nccl_table_points, text_of

from fakerun.hardware.collective_times import DATA_FILE

TEXT = DATA_FILE.read_text(encoding="utf-8")
DOCUMENT: dict[str, Any] = json.loads(TEXT)
OUTPUTS = Path(__file__).parents[1] / "unit" / "nccl_tests_outputs"
"""Parts of what some of the sources printed."""

PRINTED = """
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
           8             2     float     sum      -1    135.8    0.00    0.00      0    123.5    0.00    0.00      0
     4194304       1048576     float     sum      -1    364.6   11.50   21.57      0    356.6   11.76   22.05      0
  8589934592    2147483648     float     sum      -1    47535  180.71  338.83      0    47522  180.76  338.92      0
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
     4194304       1048576     float     sum      -1    200.0   20.97   39.32      0    356.6   11.76   22.05      0
"""
RATES = """
| size | 1 node | 4 nodes |
| 1M | 1.00 | 2.00 |

What was measured:

| size   |  1 node     |  4 nodes   |
| -----: | ----------: | ---------: |
|  65K   |   1.00GBps  |  0.50GBps  |
| 512KiB |  10.00GBps  |  5.00GBps  |
|   1GiB | 100.00GBps  | 50.00GBps  |

| 2GiB | 7.00 | 8.00 |
"""


def curve(source: str = "one", points: list[list[float]] | None = None, **others: Any) -> dict[str, Any]:
    about = {"source": source, "card": "h100-80gb", "op": "all_reduce", "ranks": 8, "nodes": 1, **others}
    return {**about, "bytes_us": points or [[65536, 1.0], [2**30, 2.0]]}


def test_printed_outputs_are_numbered_and_read_out_of_place_from_1_kib_on() -> None:
    assert Printed().read(PRINTED.encode(), curve()) == {4194304: 364.6, 8589934592: 47535}
    assert Printed(number=1).read(PRINTED.encode(), curve()) == {4194304: 200.0}


def test_times_follow_from_bus_rates_for_the_sizes_that_the_curve_has() -> None:
    read = BusRates(after="What was measured", column=2).read(RATES.encode(), curve())
    assert read == {65536: round(65536 * 1.75 / 0.5e3, 2), 2**30: round(2**30 * 1.75 / 50e3, 2)}
    gathered = BusRates(after="What was measured").read(RATES.encode(), curve(op="all_gather", ranks=4, points=[[2**19, 0.0]]))
    assert gathered == {2**19: round(2**19 * 0.75 / 10e3, 2)}


def test_a_size_that_the_table_does_not_have_is_refused() -> None:
    with pytest.raises(KeyError):
        BusRates(after="What was measured").read(RATES.encode(), curve(points=[[2**31, 0.0]]))


def test_tables_of_aiconfigurator_count_elements_of_two_bytes_in_milliseconds() -> None:
    row = {"nccl_dtype": "half", "op_name": "all_reduce", "num_gpus": 8, "message_size": 512, "latency": 0.01197000001}
    others = [{**row, "nccl_dtype": "int8"}, {**row, "op_name": "alltoall"}, {**row, "num_gpus": 4}]
    assert nccl_table_points([*others, row], curve()) == {1024: 11.97}


@pytest.fixture
def clones(tmp_path: Path) -> tuple[Clones, str]:
    """A clone of a repository with one file, and its commit."""
    repository = tmp_path / "somebody+something"
    repository.mkdir()
    (repository / "results.md").write_text(PRINTED)
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "results.md"], ["commit", "-q", "-m", "Results"]):
        subprocess.run([*git, *words], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return Clones(tmp_path), done.stdout.strip()


def test_curves_are_read_from_a_commit_and_others_stay(clones: tuple[Clones, str], monkeypatch: pytest.MonkeyPatch) -> None:
    there, commit = clones
    origin = Origin(source="one", repository="somebody/something", commit=commit, path="results.md", form=Printed(), curves={"ranks": 8})
    without_clone = Origin(source="two", repository="nobody/nothing", commit="0", path="x", form=Printed(), curves={})
    monkeypatch.setattr(collective_times, "SOURCES", (origin, without_clone))
    before = {"sources": {}, "curves": [curve(), curve(ranks=4), curve("two")]}
    after, left = converted(before, there)
    assert after["curves"] == [{**curve(), "bytes_us": [[4194304, 364.6], [8589934592, 47535.0]]}, curve(ranks=4), curve("two")]
    assert left == ["one: 1", "two: 1"]


# -- what is in the repository --------------------------------------------------------------------------------------------------------


def test_the_file_is_as_the_script_writes_it() -> None:
    assert text_of(DOCUMENT) == TEXT


def test_where_a_source_is_read_from_is_said_in_the_file() -> None:
    for origin in SOURCES:
        address = DOCUMENT["sources"][origin.source]["address"]
        assert address.startswith(f"github.com/{origin.repository}@{origin.commit}")
        assert DOCUMENT["sources"][origin.source]["licence"]
        assert any(map(origin.has, DOCUMENT["curves"]))


def test_no_curve_has_two_origins() -> None:
    for each in DOCUMENT["curves"]:
        assert sum(origin.has(each) for origin in SOURCES) <= 1, each["source"]


@pytest.mark.parametrize(
    ("source", "output"), [("awsome-p4de", "p4de_srun.txt"), ("awsome-p5", "p5_srun.txt"), ("aws-efa-eks", "p4d_mpirun_old.txt")]
)
def test_the_outputs_that_the_tests_have_give_these_curves(source: str, output: str) -> None:
    (kept,) = [each for each in DOCUMENT["curves"] if each["source"] == source]
    read = Printed().read((OUTPUTS / output).read_bytes(), kept)
    assert read
    assert read == {nbytes: us for nbytes, us in map(tuple, kept["bytes_us"]) if nbytes in read}
    assert read.keys() == dict(kept["bytes_us"]).keys()
