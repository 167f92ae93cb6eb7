"""Changelog fragments: each has a known type and is not empty."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_fragment_is_collected() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    types = {each["directory"] for each in project["tool"]["towncrier"]["type"]}
    fragments = [path for path in (ROOT / "changelog.d").iterdir() if path.name != ".gitkeep"]
    for path in fragments:
        name, _, rest = path.name.partition(".")
        assert name.startswith("+") or name.isdecimal(), f"{path.name}: begin with + or the number of an issue"
        assert rest.removesuffix(".md") in types, f"{path.name}: end with .TYPE.md, TYPE one of {', '.join(sorted(types))}"
        assert path.read_text(encoding="utf-8").strip(), path.name
