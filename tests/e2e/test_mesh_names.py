"""The whole report uses the script's names of its mesh axes."""

import json

from tests.commands import fakerun

PROGRAM = "tests/programs/own_mesh_names.py"


def test_header_groups_and_coordinates_have_the_scripts_names() -> None:
    table = fakerun(PROGRAM, "--world-size", "8", "--mesh", "2x4")
    assert table.returncode == 0
    assert "data=2,model=4" in table.stdout
    assert "dp" not in table.stdout
    report = json.loads(fakerun(PROGRAM, "--world-size", "8", "--mesh", "2x4", "--format", "json").stdout)
    assert report["job"]["mesh"] == {"data": 2, "model": 4}
    assert report["ranks"][0]["coordinate"] == {"data": 0, "model": 0}
    assert {call["group"] for call in report["ranks"][0]["collectives"]} == {"data", "model"}
