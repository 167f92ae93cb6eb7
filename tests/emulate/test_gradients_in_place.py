"""Gradients of gathers and selections take one tensor of the size of the input, as on a GPU."""

from collections.abc import Callable

import pytest
import torch

from tests.in_process import Simulate

ROWS, COLUMNS = 1024, 256
CASES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "index": lambda table, rows: table[rows],
    "gather": lambda table, rows: table.gather(0, rows[:, None].expand(8, COLUMNS)),
    "index_select": lambda table, rows: table.index_select(0, rows),
    "take": lambda table, rows: table.take(rows),
    "max": lambda table, rows: table.max(0).values,
    "sort": lambda table, rows: table.sort(0).values,
    "topk": lambda table, rows: table.topk(2).values,
    "cummax": lambda table, rows: table.cummax(0).values,
}


@pytest.mark.parametrize("name", CASES)
def test_backward_allocates_one_gradient(name: str, simulate: Simulate) -> None:
    simulate()
    rows = torch.zeros(8, dtype=torch.int64, device="cuda")
    table = torch.zeros(ROWS, COLUMNS, device="cuda", requires_grad=True)
    output = CASES[name](table, rows)
    gradient = torch.zeros_like(output)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    output.backward(gradient)
    assert table.nbytes <= torch.cuda.max_memory_allocated() - before < 1.1 * table.nbytes  # and what sorting the indices takes
    assert table.grad is not None
    assert table.grad.shape == table.shape


def test_the_script_still_gets_tensors_of_its_own(simulate: Simulate) -> None:
    simulate()
    table = torch.zeros(ROWS, COLUMNS, device="cuda")
    rows = torch.zeros(8, dtype=torch.int64, device="cuda")

    class Indexed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, tensor: torch.Tensor) -> torch.Tensor:
            return tensor * 2

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, gradient: torch.Tensor) -> torch.Tensor:
            assert table.index_put((rows,), table[:8], accumulate=True) is not table
            return gradient

    assert table.index_add(0, rows, table[:8]) is not table
    Indexed.apply(torch.zeros(4, device="cuda", requires_grad=True)).sum().backward()


Use = Callable[[torch.Tensor], torch.Tensor]
MORE_THAN_ONCE: dict[str, tuple[Use, int]] = {
    "two gradients": (lambda x: x.sigmoid() + x.tanh(), 2),
    "three gradients": (lambda x: x.sigmoid() + x.tanh() + x.relu(), 2),
    "a residual connection": (lambda x: (x + x.sigmoid()) * 2, 2),
    "a view of it": (lambda x: x.view(COLUMNS, ROWS).sigmoid().view(ROWS, COLUMNS) + x.tanh(), 2),
    "one that a hook keeps": (lambda x: x.tanh() + keeping(x.clone()).sigmoid(), 3),
}
"""With how many tensors of the size of the gradient are alive at most, beside the one that backward begins with."""
kept: list[torch.Tensor] = []


def keeping(x: torch.Tensor) -> torch.Tensor:
    x.register_hook(kept.append)
    return x


@pytest.mark.parametrize("name", MORE_THAN_ONCE)
def test_gradients_of_a_tensor_are_added_in_place(name: str, simulate: Simulate) -> None:
    use, tensors = MORE_THAN_ONCE[name]
    simulate()
    leaf = torch.zeros(ROWS, COLUMNS, device="cuda", requires_grad=True)
    x = leaf * 1
    output = use(x)
    gradient = torch.zeros_like(output)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    output.backward(gradient, retain_graph=True)  # what forward saved stays
    assert torch.cuda.max_memory_allocated() - before == tensors * leaf.nbytes
    kept.clear()
