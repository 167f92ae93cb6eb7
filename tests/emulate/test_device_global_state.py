"""A cached result is not reused after a global setting of torch that affects it has changed."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.emulate.device.global_state import IN_KEY, LEFT_OUT, RECORDED, beginning_of_key
from fakerun.torch_private import FakeTensor, pytree
from tests.in_process import simulation_of


@contextmanager
def changed(read: Callable[[], Any], write: Callable[[Any], Any], value: Any) -> Iterator[None]:
    previous = read()
    write(value)
    try:
        yield
    finally:
        write(previous)


def attribute(owner: Any, name: str, value: Any) -> AbstractContextManager[None]:
    return changed(lambda: getattr(owner, name), lambda each: setattr(owner, name, each), value)


FLIPS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "default dtype": lambda: changed(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "deterministic algorithms": lambda: changed(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, "error"),
    "grad mode": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cuda", dtype=torch.bfloat16),
    "SDPA backends": lambda: sdpa_kernel(SDPBackend.MATH),
    "default device": lambda: torch.device("cuda"),
    "cuDNN": lambda: torch.backends.cudnn.flags(enabled=False, benchmark=True, deterministic=True),
    "MKL-DNN": lambda: torch.backends.mkldnn.flags(enabled=False),
    "precision of matrix products": lambda: changed(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
    "number of threads": lambda: changed(torch.get_num_threads, torch.set_num_threads, torch.get_num_threads() + 1),
    "anomaly mode": lambda: torch.autograd.set_detect_anomaly(True),
}


def ones(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.ones(*shape, dtype=dtype, device="cuda", requires_grad=dtype.is_floating_point)


CALLS: dict[str, Callable[[], Any]] = {
    "division of integers": lambda: ones(3, dtype=torch.int64) / 2,
    "a number beside integers": lambda: ones(3, dtype=torch.int64) * 0.5,
    "arange": lambda: torch.arange(0.0, 4.0, device="cuda"),
    "full": lambda: torch.full((2,), 0.5, device="cuda"),
    "randn": lambda: torch.randn(2, device="cuda"),
    "histc": lambda: torch.histc(ones(8), bins=4),
    "median": lambda: torch.median(ones(8, 3), dim=0),
    "max_unpool2d": lambda: F.max_unpool2d(ones(1, 1, 2, 2), ones(1, 1, 2, 2, dtype=torch.int64), [2, 2]),
    "matmul": lambda: ones(4, 4) @ ones(4, 4),
    "linear": lambda: nn.Linear(4, 4, dtype=torch.float32).cuda()(ones(2, 4)),
    "convolution": lambda: F.conv2d(ones(2, 3, 8, 8).to(memory_format=torch.channels_last), ones(4, 3, 3, 3)),
    "batch norm": lambda: nn.BatchNorm2d(3, dtype=torch.float32).cuda()(ones(2, 3, 4, 4)),
    "layer norm": lambda: F.layer_norm(ones(2, 4), (4,)),
    "dropout": lambda: F.dropout(ones(4)),
    "LSTM": lambda: nn.LSTM(4, 4, dtype=torch.float32).cuda()(ones(2, 1, 4)),
    "attention": lambda: F.scaled_dot_product_attention(ones(1, 2, 8, 8).half(), ones(1, 2, 8, 8).half(), ones(1, 2, 8, 8).half()),
    "embedding": lambda: F.embedding(ones(3, dtype=torch.int64), ones(5, 4)),
    "interpolation": lambda: F.interpolate(ones(1, 1, 4, 4), scale_factor=2, mode="bilinear"),
    "index_put": lambda: ones(4).detach().index_put_((ones(2, dtype=torch.int64),), ones(2).detach(), accumulate=True),
    "cumsum": lambda: ones(4).cumsum(0),
    "cross entropy": lambda: F.cross_entropy(ones(2, 4), ones(2, dtype=torch.int64)),
    "host": lambda: torch.ones(3, dtype=torch.int64, device="cpu") / 2,
}


def description(call: Callable[[], Any]) -> object:
    """All that a script can see of the call's results and of their gradients, or the error."""
    try:
        tensors = [leaf for leaf in pytree.tree_leaves(call()) if isinstance(leaf, torch.Tensor)]
        for tensor in tensors:
            if tensor.requires_grad:
                tensor.sum().backward(retain_graph=True)
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return [(type(each), each.shape, each.stride(), each.dtype, each.device, each.is_inference(), each.requires_grad) for each in tensors]


def descriptions() -> dict[str, object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: description(call) for name, call in CALLS.items()}


def seen(setting: str, *, before: bool) -> tuple[dict[str, object], list[Any]]:
    """The calls under a setting, and the memory that they take; with `before`, after the same calls under the usual settings."""
    simulation, _ = simulation_of()
    with simulation:
        if before:
            usual = descriptions()
            assert descriptions() == usual
        since = len(timeline_of(simulation.seen().program).blocks)
        with FLIPS[setting]():
            found = descriptions()
        blocks = timeline_of(simulation.seen().program).blocks[since:]
    return found, [(block.nbytes, block.shape, block.dtype) for block in blocks]


@pytest.mark.parametrize("setting", [*IN_KEY, *RECORDED, *LEFT_OUT])
def test_results_of_before_are_not_used_wrongly(setting: str) -> None:
    assert seen(setting, before=True) == seen(setting, before=False)


def test_every_setting_is_flipped() -> None:
    assert FLIPS.keys() == IN_KEY.keys() | RECORDED.keys() | LEFT_OUT.keys()


@pytest.mark.parametrize("setting", IN_KEY)
def test_a_setting_in_the_key_changes_it_and_the_results(setting: str) -> None:
    simulation, _ = simulation_of()
    with simulation:
        usual = beginning_of_key(None), descriptions()
        with FLIPS[setting]():
            flipped = beginning_of_key(None), descriptions()
    assert usual[0] != flipped[0]
    assert usual[1] != flipped[1]


@pytest.mark.parametrize("setting", RECORDED)
def test_a_setting_that_is_recorded_changes_the_key_and_no_result(setting: str) -> None:
    simulation, _ = simulation_of()
    with simulation:
        usual = beginning_of_key(None), descriptions()
        with FLIPS[setting]():
            flipped = beginning_of_key(None), descriptions()
    assert usual[0] != flipped[0]
    assert usual[1] == flipped[1]


def test_products_in_tf32_are_operations_of_their_own() -> None:
    simulation, _ = simulation_of()
    with simulation:
        for setting in ("highest", "high", "highest"):
            with changed(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, setting):
                ones(4, 4) @ ones(4, 4)
                ones(4, 4, dtype=torch.float16) @ ones(4, 4, dtype=torch.float16)
        program = simulation.seen().program
    products = [operation.arguments for operation in program.operations if operation.name == "aten.mm.default"]
    assert products == [
        "float32[4,4], float32[4,4]",
        "float16[4,4], float16[4,4]",
        "float32[4,4], float32[4,4], tf32=True",
    ]


@pytest.mark.parametrize("setting", LEFT_OUT)
def test_a_setting_that_is_left_out_changes_no_key(setting: str) -> None:
    simulation, _ = simulation_of()
    with simulation:
        usual = beginning_of_key(None)
        with FLIPS[setting]():
            assert beginning_of_key(None) == usual


def test_warnings_and_errors_of_deterministic_mode_have_different_keys() -> None:
    simulation, _ = simulation_of()
    with simulation:
        values = ones(8).detach()
        for _ in range(2):
            assert type(torch.histc(values, bins=4)) is FakeTensor
        with changed(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, "warn"):
            with pytest.warns(UserWarning, match="_histc_cuda"):
                torch.histc(values, bins=4)
            torch.set_deterministic_debug_mode("error")
            with pytest.raises(RuntimeError, match="_histc_cuda"):
                torch.histc(values, bins=4)
