"""The call site of a tensor, a collective or a finding: a line of the user's code, else of an installed package."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.hardware.catalogue import hardware_named
from fakerun.job.spec import JobSpec
from fakerun.rank.simulation import Simulation

Run = Callable[..., list[str | None]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Writes files below a directory, runs one of them as a rank would, and tells the call site of each int16 tensor."""

    def write_and_run(files: dict[str, str], script: str = "train.py", started_in: str = ".") -> list[str | None]:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("import torch\n" + dedent(text))
        monkeypatch.chdir(tmp_path / started_in)
        monkeypatch.syspath_prepend(str((tmp_path / script).parent))
        monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
        known = set(sys.modules)
        job = JobSpec(script=tmp_path / script, hardware=hardware_named("h100-80gb"), steps=3)
        with Simulation(job, 0) as simulation:
            runpy.run_path(str(tmp_path / script), run_name="__main__")
            made = timeline_of(simulation.record(None).program).blocks
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
                del sys.modules[name]
        return [None if block.call_site is None else str(block.call_site) for block in made if block.dtype == "int16"]

    return write_and_run


MAKE = "torch.empty(1, dtype=torch.int16, device='cuda')\n"


def test_the_script(run: Run) -> None:
    assert run({"train.py": f"\n{MAKE}"}) == ["train.py:3"]


def test_the_users_innermost_line_counts(run: Run) -> None:
    files = {"train.py": "from layers import make\nmake()\n", "layers.py": f"def make():\n    {MAKE}"}
    assert run(files) == ["layers.py:3"]


def test_a_package_beside_the_script(run: Run) -> None:
    files = {"src/train.py": "from parts.layers import make\nmake()\n", "src/parts/layers.py": f"def make():\n    {MAKE}"}
    assert run(files, "src/train.py") == ["src/parts/layers.py:3"]
    assert run(files, "src/train.py", started_in="src/parts") == ["layers.py:3"]


def test_a_script_outside_the_working_directory(run: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert run({"src/train.py": MAKE}, "src/train.py", started_in="elsewhere") == ["train.py:2"]


def test_an_installed_package_is_not_the_users(run: Run) -> None:
    files = {"train.py": "from installed import make\n\nmake()\n", "site-packages/installed.py": f"def make():\n    {MAKE}"}
    assert run(files) == ["train.py:4"]


@pytest.mark.parametrize(
    "line",
    [
        "(lambda: torch.empty(1, dtype=torch.int16, device='cuda'))()",
        "exec(\"torch.empty(1, dtype=torch.int16, device='cuda')\")",
        "eval(\"torch.empty(1, dtype=torch.int16, device='cuda')\")",
        "list(map(lambda n: torch.empty(n, dtype=torch.int16, device='cuda'), [1]))",
        "[torch.empty(n, dtype=torch.int16, device='cuda') for n in [1]]",
        "torch.nn.init.zeros_(torch.ones(1, dtype=torch.int16, device='cuda'))",
        "torch.nn.Identity().to(torch.ones(1).to('cuda', torch.int16).device)",
    ],
)
def test_code_on_a_line_of_the_script(line: str, run: Run) -> None:
    assert run({"train.py": f"\n{line}\n"}) == ["train.py:3"]


def test_backward_is_where_it_was_asked_for(run: Run) -> None:
    script = """
    x = torch.ones(2, device="cuda", requires_grad=True)
    y = x.to(torch.float64)
    y.register_hook(torch.nn.Identity())
    z = (y * 2)
    z.sum().backward()
    class Cast(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()
        @staticmethod
        def backward(ctx, gradient):
            torch.empty(1, dtype=torch.int16, device="cuda")
            return gradient
    Cast.apply(x).sum().backward()
    """
    assert run({"train.py": script}) == ["train.py:14"]


def test_each_line_of_a_loop(run: Run) -> None:
    assert run({"train.py": f"for _ in range(2):\n    {MAKE}    {MAKE}"}) == ["train.py:3", "train.py:4"] * 2
