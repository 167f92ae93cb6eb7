"""Which format goes where. What is refused is in `test_cli_app.py`."""

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from fakerun.cli.destinations import check_not_inputs, destinations
from fakerun.errors import UsageError


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("format_name", "outputs", "expected"),
    [
        (None, None, ["table"]),
        (None, [], ["table"]),
        ("json", [], ["json"]),
        (None, ["r.json"], ["json=r.json"]),
        (None, ["r.xml"], ["junit=r.xml"]),
        (None, ["r.sarif"], ["sarif=r.sarif"]),
        (None, ["r.txt"], ["table=r.txt"]),
        (None, ["r.md"], ["markdown=r.md"]),
        (None, ["report"], ["table=report"]),
        ("json", ["report"], ["json=report"]),
        ("json", ["r.txt"], ["json=r.txt"]),
        (None, ["-"], ["table"]),
        ("json", ["-"], ["json"]),
        (None, ["github"], ["github"]),
        (None, ["github=-"], ["github"]),
        (None, ["./github"], ["table=github"]),
        (None, ["junit=r.json"], ["junit=r.json"]),
        (None, ["gitlab=a=b"], ["gitlab=a=b"]),
        (None, ["./a=b.json"], ["json=a=b.json"]),
        (None, ["junit=r.xml", "sarif=f.sarif"], ["junit=r.xml", "sarif=f.sarif"]),
        (None, ["junit=r.xml", "table", "github"], ["junit=r.xml", "table", "github"]),
        ("json", ["junit=r.xml"], ["junit=r.xml", "json"]),
        ("json", ["junit=r.xml", "report"], ["junit=r.xml", "json=report"]),
        (None, ["junit=/dev/null", "csv=/dev/null"], ["junit=/dev/null", "csv=/dev/null"]),
    ],
)
def test_destinations(format_name: str | None, outputs: Sequence[str] | None, expected: list[str]) -> None:
    found = destinations(format_name, outputs)
    assert [each.report_format.name + (f"={each.path}" if each.path else "") for each in found] == expected


@pytest.mark.parametrize(
    ("output", "is_directory"),
    [("trace=step.json", False), ("trace=step.json.gz", False), ("trace=traces", True), ("trace=there", True), ("trace=v1.0", True)],
)
def test_a_format_of_several_files_goes_to_a_directory_or_writes_one_of_them(output: str, is_directory: bool) -> None:
    Path("there").mkdir()
    Path("v1.0").mkdir()
    (found,) = destinations(None, [output])
    assert (found.is_directory, found.path) == (is_directory, Path(output.partition("=")[2]))
    check_not_inputs((found,), [Path("train.py")])


def test_a_file_without_an_ending_is_written_again() -> None:
    Path("step").touch()
    assert [each.is_directory for each in destinations("trace", ["step"])] == [False]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("trace=no/traces", "output no/traces: no such directory: no; create it first"),
        ("trace=closed", "output closed: the directory is not writable; pass another one"),
        ("trace=closed/traces", "output closed/traces: the directory is not writable; pass another one"),
        ("json=there", "output there: is a directory; pass a file in it, as in there/report.json"),
    ],
)
def test_a_directory_that_cannot_be_written_to_is_refused(output: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("there").mkdir()
    Path("closed").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "closed")  # modes do not hold for root
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        destinations(None, [output])
