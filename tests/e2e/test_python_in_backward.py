"""Python code inside backward sees the device of the script: moving a tensor to where it is makes no copy."""

from pathlib import Path

import pytest

from tests.commands import fakerun

PROGRAM = "tests/programs/to_in_backward.py"
TENSOR_BYTES = 512


def test_moves_to_where_a_tensor_is_make_no_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")  # no workspaces: they would be most of the peak
    result = fakerun(PROGRAM, "--world-size", "1", "--run-dir", str(tmp_path / "run"))
    assert result.returncode == 0, result.stdout + result.stderr
    copies, same, given, peak = next((tmp_path / "run").rglob("stdout.log")).read_text().splitlines()
    assert (copies, same) == ("copies 0", "same True")
    assert set(given.split()) - {"cpu"} == {"given", "cuda:0"}  # in torch 2.11 the state of the host's generator, too
    # In the backward of the last line: the table, the weight, the inputs, two gradients from before, and what a step of it needs at once:
    # two scalars, the gradient of the product, the product that is computed again, and the gradient by the product.
    assert peak == f"peak {11 * TENSOR_BYTES}"
