"""Every script of `scripts/dev` says what it is for and what it takes."""

import runpy
import sys
from pathlib import Path

import pytest

DEV = Path(__file__).parents[2] / "scripts" / "dev"
PROGRAMS = sorted(path for path in (*DEV.glob("*.py"), *DEV.glob("gpu/*.py")) if "ArgumentParser(" in path.read_text(encoding="utf-8"))
NOT_COMMANDS = {"generated_part.py", "published_programs.py", "reduced_programs.py", "tolerances.py"}
"""Modules that others import."""


def test_every_script_is_a_command_or_imported() -> None:
    everything = {path.name for path in (*DEV.glob("*.py"), *DEV.glob("gpu/*.py"))}
    assert everything - {path.name for path in PROGRAMS} == NOT_COMMANDS


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_help(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    assert end.value.code == 0
    assert f"usage: {path.name}" in capsys.readouterr().out
