"""Which format goes where. What is refused is in `test_cli_app.py`."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from fakerun.cli.destinations import destinations


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
