"""Files of safetensors: skipped, and found again by the ranks of the run; what is not simulated is written and read for real."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fakerun.rank.simulation import Simulation
from tests.in_process import Simulate, really

safetensors: Any = pytest.importorskip("safetensors")
functions: Any = pytest.importorskip("safetensors.torch")


def described(tensors: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {
        name: (tuple(tensor.shape), tensor.dtype, str(tensor.device), isinstance(tensor, nn.Parameter))
        for name, tensor in sorted(tensors.items())
    }


def model() -> nn.Module:
    return nn.Linear(3, 4, dtype=torch.bfloat16, device="cuda")


def opened(path: Path, device: Any = "cpu") -> dict[str, Any]:
    with safetensors.safe_open(path, framework="pt", device=device) as file:
        return {name: file.get_tensor(name) for name in sorted(file.keys())}


LOADING: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "load_file": (functions.load_file, "cpu"),
    "load_file to a device": (lambda path: functions.load_file(str(path), device="cuda:1"), "cuda:1"),
    "load_file to a number": (lambda path: functions.load_file(path, 1), "cuda:1"),
    "safe_open": (opened, "cpu"),
    "safe_open on a device": (lambda path: opened(path, "cuda:0"), "cuda:0"),
    "load": (lambda path: functions.load(path.read_bytes()), "cpu"),
}


@pytest.mark.parametrize("written", ["save_file", "save", "save_model"])
@pytest.mark.parametrize("loaded", LOADING)
def test_what_is_saved_is_loaded_with_its_shapes(simulation: Simulation, tmp_path: Path, written: str, loaded: str) -> None:
    path, linear = tmp_path / "model.safetensors", model()
    match written:
        case "save_file":
            functions.save_file(dict(linear.named_parameters()), path, {"format": "pt"})
        case "save":
            path.write_bytes(functions.save(linear.state_dict()))
        case "save_model":
            functions.save_model(linear, str(path))
    load, device = LOADING[loaded]
    assert described(load(path)) == {
        "bias": ((4,), torch.bfloat16, device, False),
        "weight": ((4, 3), torch.bfloat16, device, False),
    }
    assert really(tmp_path) == {}
    functions.load_model(linear, path)
    (finding,) = simulation.seen().findings
    assert (finding.code, finding.call_site is not None) == ("not-saved", True)


def test_a_file_from_before_the_run_is_kept(simulate: Simulate, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"the user's")
    simulate()
    functions.save_file({"a": torch.ones(3)}, path)
    functions.save_file({"b": torch.ones(3, device="cuda")}, path)
    assert list(functions.load_file(path)) == ["b"]
    assert really(tmp_path) == {"model.safetensors": b"the user's"}


def test_host_values_are_written_and_read_for_real(simulation: Simulation, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    functions.save_file({"a": torch.tensor([3, 4])}, path)
    assert functions.load_file(path)["a"].tolist() == [3, 4]
    assert functions.load(functions.save({"a": torch.tensor([5])}))["a"].tolist() == [5]
    assert functions.load_file(path, device="cuda")["a"].device == torch.device("cuda", 0)
    assert list(really(tmp_path)) == ["model.safetensors"]
    assert simulation.seen().findings == ()


def test_parts_and_metadata(simulation: Simulation, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    functions.save_file(model().state_dict(), path, metadata={"format": "pt"})
    with safetensors.safe_open(path, framework="pt", device="cuda:0") as file:
        assert (file.keys(), file.metadata()) == (["bias", "weight"], {"format": "pt"})
        part = file.get_slice("weight")
        assert (part.get_shape(), part.get_dtype(), tuple(part[1:, 0].shape)) == ([4, 3], "BF16", (3,))
    with safetensors.safe_open(path, framework="np") as file, pytest.raises(TypeError, match="BFloat16"):
        file.get_tensor("weight")


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "shared memory": (lambda: dict.fromkeys(("a", "b"), torch.ones(3, device="cuda")), RuntimeError, "'a' and 'b': they share memory"),
    "not contiguous": (lambda: {"a": torch.ones(3, 2, device="cuda").t()}, ValueError, "tensor 'a': it is not contiguous"),
    "no tensor": (lambda: {"a": 3}, ValueError, "a dict of tensors"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_it_refuses_is_refused(simulation: Simulation, tmp_path: Path, case: str) -> None:
    tensors, error, message = BAD[case]
    with pytest.raises(error, match=message):
        functions.save_file(tensors(), tmp_path / "model.safetensors")


def test_a_file_that_is_not_there(simulation: Simulation, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No such file"):
        functions.load_file(tmp_path / "none.safetensors")
