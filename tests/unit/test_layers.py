"""The layers of the package: imports go down only, torch stays in the rooms that simulate, a test is named after its module."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fakerun

PACKAGE = Path(fakerun.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
PRIVATE_TORCH = "fakerun.torch_private"

BOTTOM = {"units", "errors", "spelling", "printable"}
RECORDED = {"records", "job", "hardware", "files", "call_site", "mesh"} | BOTTOM
SIMULATES = {"patching", "torch_private", "syntax"} | RECORDED
MAY_IMPORT = {
    "__main__": {"cli"},
    "testing": {"rank", "launch", "analysis", "report"} | SIMULATES,
    "cli": {"report", "launch", "analysis"} | RECORDED,
    "report": {"analysis"} | RECORDED,
    "launch": {"analysis"} | RECORDED,
    "analysis": {"allocator", "device_memory"} | RECORDED,
    "rank": {"emulate", "trace"} | SIMULATES,
    "emulate": {"allocator"} | SIMULATES,
    "trace": {"allocator", "device_memory"} | SIMULATES,
    "device_memory": {"allocator", "records", "hardware"} | BOTTOM,
    "allocator": BOTTOM,
    "records": {"files", "call_site", "mesh"} | BOTTOM,
    "job": {"allocator", "records", "hardware", "files", "mesh"} | BOTTOM,
    "hardware": BOTTOM,
    "files": set(),
    "call_site": set(),
    "syntax": {"call_site"},
    "mesh": {"units"},
    "spelling": set(),
    "printable": set(),
    "patching": {"errors"},
    "torch_private": set(),
    "units": set(),
    "errors": set(),
}
"""What each room may import of fakerun, beside itself. Only these are rooms: a new one is added here first."""

NO_ATTRIBUTES = {
    "fakerun.emulate.rank_tracking.native_calls": {"_ArrayFunctionDispatcher"},  # of numpy
    "fakerun.emulate.rank_tracking.rewriting": {"_getframe"},  # of sys
    # Operators, by which kernels are registered or answered; tests/emulate sees to it that they are some.
    "fakerun.emulate.cluster.c10d": {"_allgather_base_", "_reduce_scatter_base_"},
    "fakerun.emulate.cluster.functional": {"_wrap_tensor_autograd"},
    "fakerun.emulate.cluster.symmetric_memory": {
        *("_low_contention_all_gather", "_low_contention_reduce_scatter"),
        *("_low_contention_all_gather_ce_multicast", "_low_contention_all_gather_ce_multicast_out"),
    },
    "fakerun.emulate.kernels.autocast": {
        *("_convolution", "_scaled_dot_product_flash_attention", "_thnn_fused_gru_cell", "_thnn_fused_lstm_cell"),
        *("_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa"),
        *("_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d"),
    },
    "fakerun.emulate.kernels.fused_kernels": {"_fused_rms_norm"},
    # Functions of NCCL's process group, quoted in its errors.
    "fakerun.emulate.cluster.nccl_size_checks": {"_broadcast_oop", "_reduce_oop"},
    # Of `ctypes.CDLL`, and versions of NVML's functions.
    "fakerun.emulate.driver.nvml": {"_handle", "_name", "_nvml_functions", "_v2", "_v3"},
    # Attributes of `threading.Thread`.
    "fakerun.emulate.device.threads": {"_bootstrap_inner", "_target"},
    # Where `os.environ` keeps the values.
    "fakerun.emulate.rank_tracking.variables": {"_data"},
    # How argparse converts the text of an option.
    "fakerun.emulate.rank_tracking.uses": {"_get_value"},
}
"""Strings that look like private names and are no attributes of torch's."""

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


class PrivateNames:
    """The names with one leading underscore that a module uses of objects that are not its own.

    Attributes of anything but `self` and `cls`, and strings outside f-strings. Not counted: names that the module defines itself (a
    function, a class, an attribute of `self`), attributes of modules of the standard library, and operators.
    """

    def __init__(self, tree: ast.Module) -> None:
        self._standard = {name for name in _imported_modules(tree) if name in sys.stdlib_module_names}
        nodes = list(ast.walk(tree))
        own = set(filter(None, map(_defined, nodes)))
        parts = {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
        self.attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute) and self._is_foreign(node)} - own
        self.strings = {
            node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in parts and _is_private(node.value)
        } - own

    def _is_foreign(self, node: ast.Attribute) -> bool:
        root, path = node.value, [node.attr]
        while isinstance(root, ast.Attribute):
            path.append(root.attr)
            root = root.value
        if not _is_private(node.attr) or (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
            return False
        return not isinstance(root, ast.Name) or not (root.id in self._standard or root.id == "aten" or path[-1] == "ops")


def _is_private(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"_[A-Za-z]\w*", name) is not None


def _imported_modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)


def _defined(node: ast.AST) -> str | None:
    """The name that a definition, or an assignment to an attribute of `self`, makes the module's own."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return node.name
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self":
        return node.attr
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return None


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
def test_private_names_of_torch_are_in_one_module(file: Path) -> None:
    if module_of(file) == PRIVATE_TORCH:
        return
    assert not [name for name in (*imports(file), *dotted_names(file)) if is_private_torch(name)]
    if room_of(module_of(file)) in MAY_IMPORT_TORCH:
        names = PrivateNames(ast.parse(file.read_text(encoding="utf-8")))
        assert not names.attributes
        assert names.strings <= NO_ATTRIBUTES.get(module_of(file), set())


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("storage._cdata", {"_cdata"}),
        ("tensor.untyped_storage()._cdata", {"_cdata"}),
        ("import torch\ntorch.nn.Module._apply(module, f)", {"_apply"}),
        ("for tensor in tensors: tensor._is_view()", {"_is_view"}),
        ("patches.set(owner, '_name', value)", {"_name"}),
        ("getattr(owner, '_name', None)", {"_name"}),
        ("TABLE = {'_name': 1}", {"_name"}),
        ("self._own, cls._own", set()),
        ("class Own:\n    def _method(self): ...\nother._method()", set()),
        ("class Own:\n    def __init__(self): self._x = 1\nother._x", set()),
        ("class Own:\n    __slots__ = ('_x',)\n    def __init__(self): self._x = 1", set()),
        ("import os, sys\nos._exit(0), sys._getframe(1)", set()),
        ("aten._to_copy, torch.ops._c10d_functional.wait_tensor", set()),
        ("f'{name}_out', '_', '__dict__', f'_{name}'", set()),
    ],
)
def test_private_names_are_found(code: str, found: set[str]) -> None:
    names = PrivateNames(ast.parse(code))
    assert names.attributes | names.strings == found


def test_every_room_is_known() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))}
    assert found - {"__init__", "__main__"} <= MAY_IMPORT.keys()


@pytest.mark.parametrize(
    "module", ["fakerun.cli.app", "fakerun.launch", "fakerun.report", "fakerun.job.yaml_job", "fakerun.testing.plugin"]
)
def test_importing_what_is_always_loaded_does_not_import_torch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_needs_neither_yaml_nor_rich() -> None:
    """`fakerun --help` answers in about 0.2 s."""
    code = "from fakerun.cli.app import main; main(['--help']); import sys; sys.exit(bool({'torch', 'yaml', 'rich'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0


def test_a_page_knows_no_format_and_a_format_no_analysis() -> None:
    """Analyses fill the report, the page turns it into text, formats render the page: formats compute nothing."""
    may_not_import = {"fakerun.report.page": "fakerun.report.formats", "fakerun.report.formats": "fakerun.analysis"}
    for here, there in may_not_import.items():
        files = [file for file in FILES if module_of(file).startswith(here)]
        assert files
        assert not [(module_of(file), name) for file in files for name in imports(file) if name.startswith(there)]


def test_the_page_imports_results_of_analyses_but_calls_no_analysis() -> None:
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
    "rank_tracking": set(),
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


def test_a_test_is_named_after_its_module() -> None:
    """`test_<room>_<module>.py`, with `_random` behind it where programs or records are generated."""
    modules = {module_of(file).removeprefix("fakerun.").replace(".", "_") for file in FILES}
    tests = {file.stem.removeprefix("test_").removesuffix("_random") for file in Path(__file__).parent.glob("test_*.py")}
    assert tests - modules == {"layers"}
