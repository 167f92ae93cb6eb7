"""The layers of the house: imports go down only, and torch stays in the rooms that simulate."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fakerun

PACKAGE = Path(fakerun.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
PRIVATE_TORCH = "fakerun.torch_private"

BOTTOM = {"units", "errors", "spelling"}
RECORDED = {"records", "job", "hardware", "files", "call_site", "mesh"} | BOTTOM
SIMULATES = {"patching", "torch_private"} | RECORDED
MAY_IMPORT = {
    "__main__": {"cli"},
    "testing": {"rank", "launch", "analysis"} | SIMULATES,
    "cli": {"report", "launch", "analysis"} | RECORDED,
    "report": {"analysis"} | RECORDED,
    "launch": {"analysis"} | RECORDED,
    "analysis": RECORDED,
    "rank": {"emulate", "trace"} | SIMULATES,
    "emulate": SIMULATES,
    "trace": SIMULATES,
    "records": {"files", "call_site", "mesh"} | BOTTOM,
    "job": {"records", "hardware", "mesh"} | BOTTOM,
    "hardware": BOTTOM,
    "files": set(),
    "call_site": set(),
    "mesh": {"units"},
    "spelling": set(),
    "patching": {"errors"},
    "torch_private": set(),
    "units": set(),
    "errors": set(),
}
"""What each room may import of fakerun, beside itself. Only these are rooms: a new one is added here first."""

MAY_IMPORT_TORCH = {"testing", "rank", "emulate", "trace", "torch_private"}


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    """`job` for `fakerun.job.mesh`; empty for `fakerun` itself, which holds the version."""
    return module.partition(".")[2].partition(".")[0]


def imports(file: Path) -> Iterator[str]:
    """Full names of what the file imports, at any depth: `package.module.name`."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dotted_names(file: Path) -> Iterator[str]:
    """`torch._C.x` as it is written in expressions."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            parts = []
            inner: ast.expr = node
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name):
                yield ".".join([inner.id, *reversed(parts)])


def is_private_torch(name: str) -> bool:
    first, *rest = name.split(".")
    if rest[:1] == ["ops"]:  # names of operators, which dispatch modes compare with; no API
        return False
    return first == "torch" and any(part.startswith("_") and not part.endswith("__") for part in rest)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_go_down(file: Path) -> None:
    room = room_of(module_of(file))
    rooms = {room_of(name) for name in imports(file) if name.split(".")[0] == "fakerun"} - {room, "", "__version__"}
    assert rooms <= MAY_IMPORT.get(room, set())


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_torch_stays_in_its_rooms(file: Path) -> None:
    if room_of(module_of(file)) not in MAY_IMPORT_TORCH:
        assert not [name for name in imports(file) if name.split(".")[0] == "torch"]


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_private_torch_has_one_door(file: Path) -> None:
    if module_of(file) != PRIVATE_TORCH:
        assert not [name for name in (*imports(file), *dotted_names(file)) if is_private_torch(name)]


def test_every_room_is_known() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))}
    assert found - {"__init__", "__main__"} <= MAY_IMPORT.keys()


@pytest.mark.parametrize(
    "module", ["fakerun.cli.app", "fakerun.launch", "fakerun.report", "fakerun.job.yaml_job", "fakerun.testing.plugin"]
)
def test_importing_what_is_always_loaded_leaves_torch_out(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_needs_neither_yaml_nor_rich() -> None:
    """`fakerun --help` answers in about 0.2 s."""
    code = "from fakerun.cli.app import main; main(['--help']); import sys; sys.exit(bool({'torch', 'yaml', 'rich'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_a_page_knows_no_format_and_a_format_no_analysis() -> None:
    """Analyses fill the report, the page words it, formats write it down: whoever formats computes nothing."""
    may_not_import = {"fakerun.report.page": "fakerun.report.formats", "fakerun.report.formats": "fakerun.analysis"}
    for here, there in may_not_import.items():
        files = [file for file in FILES if module_of(file).startswith(here)]
        assert files
        assert not [(module_of(file), name) for file in files for name in imports(file) if name.startswith(there)]


def test_the_page_takes_results_of_analyses_and_calls_none() -> None:
    """Types and constants of `analysis` only: their names begin with a capital."""
    names = {
        name.rpartition(".")[2]
        for file in FILES
        if module_of(file).startswith("fakerun.report.page")
        for name in imports(file)
        if name.startswith("fakerun.analysis.")
    }
    assert names
    assert all(name[0].isupper() for name in names)


EMULATE_MAY_IMPORT = {
    "unsupported": set(),
    "device": {"unsupported"},
    "driver": {"device", "unsupported"},
    "kernels": {"device", "unsupported"},
    "cluster": {"device", "unsupported"},
    "checkpoints": {"device", "unsupported"},
}
"""What each room inside `emulate` may import of the others."""


@pytest.mark.parametrize("room", EMULATE_MAY_IMPORT)
def test_rooms_of_the_emulation_import_down(room: str) -> None:
    imported = {
        name.split(".")[2] for file in (PACKAGE / "emulate" / room).glob("*.py") for name in imports(file) if "fakerun.emulate." in name
    }
    assert imported & EMULATE_MAY_IMPORT.keys() <= EMULATE_MAY_IMPORT[room] | {room}


def test_every_room_of_the_emulation_is_known() -> None:
    assert {path.name for path in (PACKAGE / "emulate").iterdir() if path.is_dir() and any(path.glob("*.py"))} == EMULATE_MAY_IMPORT.keys()
