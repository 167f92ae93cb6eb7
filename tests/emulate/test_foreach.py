"""In-place operators on lists of device tensors: what CUDA rejects is rejected although no kernel runs, and known values stay known."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.in_process import Simulate


def device(*sizes: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [torch.zeros(size, dtype=dtype, device="cuda") for size in sizes]


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "a size that cannot be broadcast": (lambda: torch._foreach_add_(device(4, 4), device(4, 3)), r"size of tensor a \(4\)|broadcast"),
    "a result that is larger": (lambda: torch._foreach_add_(device(4, 1), device(4, 3)), r"output with shape \[1\]|shape"),
    "lists of different lengths": (lambda: torch._foreach_mul_(device(4, 4), device(4)), "same number of tensors|same length"),
    "too few numbers": (lambda: torch._foreach_mul_(device(4, 4), [2.0]), "same number of elements|same length|number of scalars"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(simulate: Simulate, case: str) -> None:
    simulate()
    call, message = REFUSED[case]
    with pytest.raises(RuntimeError, match=message):
        call()


CHANGED: dict[str, tuple[Callable[[list[torch.Tensor]], Any], list[list[float]]]] = {
    "a number": (lambda a: torch._foreach_add_(a, 2), [[2.0, 2.0], [2.0]]),
    "numbers": (lambda a: torch._foreach_add_(a, [1.0, 3]), [[1.0, 1.0], [3.0]]),
    "a list": (lambda a: torch._foreach_add_(a, [torch.ones_like(each) for each in a], alpha=2), [[2.0, 2.0], [2.0]]),
    "a list to broadcast": (lambda a: torch._foreach_add_(a, [torch.ones(1, device="cuda") for _ in a]), [[1.0, 1.0], [1.0]]),
}


@pytest.mark.parametrize("case", CHANGED)
def test_known_values_are_followed(simulate: Simulate, case: str) -> None:
    simulate()
    call, values = CHANGED[case]
    tensors = device(2, 1)
    call(tensors)
    assert [tensor.tolist() for tensor in tensors] == values


def test_optimizers_and_gradient_norms_take_operators_on_lists(simulate: Simulate) -> None:
    """As on CUDA, where that is the default: their temporaries are as large as all parameters."""
    simulate()
    model = torch.nn.Linear(4, 4, device="cuda")
    model(torch.zeros(2, 4, device="cuda")).sum().backward()
    used: set[str] = set()

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            used.add(func.name())
            return func(*args, **(kwargs or {}))

    with Names():
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        assert {"aten::_foreach_norm.Scalar", "aten::_foreach_mul_.Tensor"} <= used
        torch.optim.AdamW(model.parameters()).step()
    assert "aten::_foreach_addcmul_.Scalar" in used
    assert "aten::_foreach_sqrt" in used
