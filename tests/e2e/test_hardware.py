"""Hardware with figures of the user's own, and a kept run assessed on other hardware."""

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.commands import fakerun

SCRIPT = """
import torch

model = torch.nn.Sequential(*(torch.nn.Linear(16384, 16384, device="cuda") for _ in range(8)))
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(2):
    model(torch.ones(64, 16384, device="cuda")).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
"""
"""32 GiB with its gradients and the optimizer's state; no operator's kernel depends on the device."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run on an H100, in `run` of the directory with the script; its reports lie beside it."""
    directory = tmp_path_factory.mktemp("kept")
    (directory / "train.py").write_text(SCRIPT)
    for name in ("json", "table"):
        kept_in = ("--run-dir", "run") if name == "json" else ()
        result = fakerun("train.py", "--world-size", "1", *kept_in, "--format", name, cwd=directory)
        assert result.returncode == 0, result.stderr
        (directory / f"report.{name}").write_text(result.stdout)
    return directory


def on(hardware: str, kept: Path, format_: str = "json") -> CompletedProcess[str]:
    return fakerun("report", "run", "--hardware", hardware, "--format", format_, cwd=kept)


def without(document: Any, code: str) -> Any:
    """The report less the findings of a code."""
    return {**document, "findings": [finding for finding in document["findings"] if finding["code"] != code]}


@pytest.mark.parametrize("format_", ["json", "table"])
@pytest.mark.parametrize("hardware", ["h100-80gb", "H100-80GB"])
def test_the_same_hardware_is_the_same_report(hardware: str, format_: str, kept: Path) -> None:
    result = on(hardware, kept, format_)
    assert (result.returncode, result.stdout) == (0, (kept / f"report.{format_}").read_text())


def test_other_hardware_is_as_a_run_on_it(kept: Path) -> None:
    judged = on("l4", kept)
    fresh = fakerun("train.py", "--world-size", "1", "--hardware", "l4", "--format", "json", cwd=kept)
    assert (judged.returncode, fresh.returncode) == (1, 1)
    assert without(json.loads(judged.stdout), "other-hardware") == json.loads(fresh.stdout)
    findings = {finding["code"]: finding for finding in json.loads(judged.stdout)["findings"]}
    assert findings.keys() == {"does-not-fit", "other-hardware", "no-process-group"}
    assert findings["other-hardware"]["message"].startswith("the run was simulated on h100-80gb; its kernels were chosen for compute ")
    assert "9.0, and l4 has 8.9: " in findings["other-hardware"]["message"]


def test_other_hardware_with_the_same_kernels(kept: Path) -> None:
    result = on("h200", kept)
    assert result.returncode == 0
    (note,) = (finding for finding in json.loads(result.stdout)["findings"] if finding["code"] == "other-hardware")
    assert "torch chooses the same kernels on h200" in note["message"]


def test_the_table_names_the_hardware_of_the_verdict(kept: Path) -> None:
    result = on("h100-80gb,memory=30GiB", kept, "table")
    assert result.returncode == 1
    assert "1 x h100-80gb,memory=30GiB" in result.stdout
    assert "(h100-80gb,memory=30GiB)" in result.stdout


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        ("l5", "unknown hardware 'l5'; known: "),
        ("l4,memory=24", "memory: '24' is not an amount of memory: "),
    ],
)
def test_hardware_that_cannot_be_used_for_a_verdict(hardware: str, message: str, kept: Path) -> None:
    result = on(hardware, kept)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"fakerun: error: {message}")


JOB = "script: train.py\nworld_size: 1\nsteps: 1\nhardware: {{base: h100-80gb, memory: {memory}}}\n"


def test_a_job_file_with_a_figure(kept: Path) -> None:
    (kept / "job.yaml").write_text(JOB.format(memory="30GiB"))
    result = fakerun("job.yaml", "--format", "json", cwd=kept)
    report = json.loads(result.stdout)
    assert result.returncode == 1
    assert (report["job"]["hardware"], report["job"]["hardware_overrides"]) == ("h100-80gb", {"memory": "30GiB"})
    assert report["ranks"][0]["memory"]["usable_bytes"] == 30 << 30


def test_a_job_file_with_a_wrong_figure(kept: Path) -> None:
    (kept / "job.yaml").write_text(JOB.format(memory="94"))
    result = fakerun("job.yaml", cwd=kept)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("fakerun: error: job.yaml:4: hardware.memory: '94' is not an amount of memory: ")


EXPANDABLE = "expandable_segments:True"


def memory(result: CompletedProcess[str]) -> Any:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["ranks"][0]["memory"]["devices"]


def test_other_settings_of_the_allocator_are_as_a_run_with_them(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as an option, or found by the script in its environment."""
    judged = memory(fakerun("report", "run", "--alloc-conf", EXPANDABLE, "--format", "json", cwd=kept))
    assert judged[0]["allocator_settings"] == EXPANDABLE
    fresh = ("train.py", "--world-size", "1", "--format", "json")
    assert memory(fakerun(*fresh, "--alloc-conf", EXPANDABLE, cwd=kept)) == judged
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", EXPANDABLE)
    assert memory(fakerun(*fresh, cwd=kept)) == judged


def test_the_script_finds_the_settings_and_may_make_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import os\n"
        "assert os.environ['PYTORCH_ALLOC_CONF'] == os.environ['PYTORCH_CUDA_ALLOC_CONF'] == 'max_split_size_mb:64'\n"
        "import torch\n"
        "torch.ones(1, device='cuda')\n"
    )
    result = fakerun("train.py", "--alloc-conf", "max_split_size_mb:64", "--format", "json", cwd=tmp_path)
    assert memory(result)[0]["allocator_settings"] == "max_split_size_mb:64"
    own = "import os\nos.environ['PYTORCH_ALLOC_CONF'] = {!r}\nimport torch\ntorch.ones(1, device='cuda')\n"
    (tmp_path / "own.py").write_text(own.format(EXPANDABLE))
    assert memory(fakerun("own.py", "--format", "json", cwd=tmp_path))[0]["allocator_settings"] == EXPANDABLE
    (tmp_path / "own.py").write_text(own.format("a:b"))
    refused = fakerun("own.py", cwd=tmp_path)
    assert refused.returncode == 3
    assert "Unrecognized key 'a' in Accelerator allocator config" in " ".join(refused.stdout.split())
