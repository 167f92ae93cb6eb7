"""The pytest plugin, in a pytest process of its own, on the test file in the documentation."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

from fakerun.testing import plugin

ROOT = Path(__file__).resolve().parents[2]


def _shown() -> str:
    """The one block in Python of docs/testing.md."""
    _, _, rest = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8").partition("```python\n")
    return rest.partition("```")[0]


def test_the_entry_point_is_the_plugin() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    assert [EntryPoint(name, value, "pytest11").load() for name, value in declared.items()] == [plugin]


def test_the_example_in_the_documentation_passes(tmp_path: Path) -> None:
    (tmp_path / "test_average.py").write_text(_shown(), encoding="utf-8")
    # By name, whether fakerun is installed here or not; the environment's other plugins are not asked.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "fakerun.testing.plugin", "-p", "no:cacheprovider"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout
    assert "2 passed" in result.stdout
