"""torch.compile and the APIs around it: FlexAttention and control-flow operators."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from fakerun.rank.simulation import Simulation

MIB = 2**20


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4)).cuda()


def codes(simulation: Simulation) -> set[str]:
    return {finding.code for finding in simulation.record(None).findings}


def test_a_compiled_module_is_what_it_is_on_a_gpu(simulation: Simulation) -> None:
    model = network()
    compiled: Any = torch.compile(model, mode="reduce-overhead", fullgraph=True)
    assert type(compiled).__name__ == "OptimizedModule"
    assert compiled._orig_mod is model
    assert next(iter(compiled.state_dict())) == "_orig_mod.0.weight"
    compiled(torch.ones(2, 16, device="cuda")).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert copy.deepcopy(compiled).state_dict().keys() == compiled.state_dict().keys()
    assert codes(simulation) & {"compiled-eagerly"}


@pytest.mark.parametrize(
    ("options", "captures"),
    [
        ({"mode": "reduce-overhead"}, True),
        ({"mode": "max-autotune"}, True),
        ({"options": {"triton.cudagraphs": True}}, True),
        ({"backend": "cudagraphs"}, True),
        ({"mode": "max-autotune-no-cudagraphs"}, False),
        ({"backend": "eager", "mode": None}, False),
        ({}, False),
    ],
)
def test_graphs_of_compiled_code_are_not_simulated_and_said_so(options: dict[str, Any], captures: bool, simulation: Simulation) -> None:
    torch.compile(network(), **options)
    messages = [finding.message for finding in simulation.seen().findings if finding.code == "not-emulated"]
    assert any("torch.compile's CUDA graphs" in message for message in messages) is captures


def test_a_compiled_function_keeps_its_name(simulation: Simulation) -> None:
    @torch.compile(dynamic=True)
    def twice(x: torch.Tensor) -> torch.Tensor:
        """Doubles."""
        assert not torch.compiler.is_compiling()
        return x * 2

    assert (twice.__name__, twice.__doc__) == ("twice", "Doubles.")
    assert twice(torch.ones(2, device="cuda")).tolist() == [2.0, 2.0]


def test_compiled_in_place(simulation: Simulation) -> None:
    model = network()
    model.compile(mode="max-autotune")
    model(torch.ones(2, 16, device="cuda")).sum().backward()
    assert isinstance(pickle.dumps(nn.Linear(2, 2)), bytes)
    assert "0.weight" in model.state_dict()


def step_marks() -> None:
    torch.compiler.cudagraph_mark_step_begin()
    torch.compiler.reset()
    torch._dynamo.reset()


def dynamic_marks() -> None:
    x = torch.ones(2, 3, device="cuda")
    torch._dynamo.mark_dynamic(x, 0)
    torch._dynamo.mark_static(x, 1)


def limits() -> None:
    with torch._dynamo.config.patch(recompile_limit=64, optimize_ddp=False):
        pass


def disabled() -> None:
    model = network()
    assert torch.compile(model, disable=True) is model
    assert torch.compiler.disable(lambda x: x + 1)(1) == 2


@pytest.mark.parametrize("call", [step_marks, dynamic_marks, limits, disabled], ids=lambda call: call.__name__)
def test_the_compilers_other_functions(call: Callable[[], None], simulation: Simulation) -> None:
    call()
    assert "compiled-eagerly" not in codes(simulation)


# -- FlexAttention -----------------------------------------------------------------------------------------------------

HEADS, LENGTH, WIDTH = 4, 4096, 64
OUTPUT_BYTES = HEADS * LENGTH * WIDTH * 2
LOG_SUM_EXP_BYTES = HEADS * LENGTH * 4


def heads() -> torch.Tensor:
    return torch.randn(1, HEADS, LENGTH, WIDTH, device="cuda", dtype=torch.bfloat16, requires_grad=True)


@pytest.mark.parametrize("compiled", [True, False])
def test_flex_attention_holds_no_scores(compiled: bool, simulation: Simulation) -> None:
    query, key, value = heads(), heads(), heads()
    mask = create_block_mask(lambda b, h, q, kv: q >= kv, None, None, LENGTH, LENGTH, device="cuda")
    attention = torch.compile(flex_attention) if compiled else flex_attention
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    output = attention(query, key, value, block_mask=mask)
    kept = torch.cuda.memory_allocated() - before
    assert OUTPUT_BYTES + LOG_SUM_EXP_BYTES <= kept <= OUTPUT_BYTES + 4 * LOG_SUM_EXP_BYTES
    output.sum().backward()
    assert torch.cuda.max_memory_allocated() - before < 8 * OUTPUT_BYTES < HEADS * LENGTH**2 * 2
    assert query.grad is not None
    assert ("unfused-attention" in codes(simulation)) is not compiled


def test_a_compiled_block_mask_makes_no_mask_of_all_pairs(simulation: Simulation) -> None:
    def causal(b: Any, h: Any, q: Any, kv: Any) -> Any:
        return q >= kv

    torch.cuda.reset_peak_memory_stats()
    mask = torch.compile(create_block_mask)(causal, 1, 1, LENGTH, LENGTH, device="cuda")
    assert mask.shape == (1, 1, LENGTH, LENGTH)
    assert 0 < torch.cuda.memory_allocated() <= torch.cuda.max_memory_allocated() < LENGTH**2 / 8


def test_a_learned_bias_gets_a_gradient(simulation: Simulation) -> None:
    bias = torch.zeros(HEADS, device="cuda", requires_grad=True)
    attention: Any = torch.compile(flex_attention)
    output, log_sum_exp = attention(heads(), heads(), heads(), score_mod=lambda score, b, h, q, kv: score + bias[h], return_lse=True)
    assert log_sum_exp.shape == (1, HEADS, LENGTH)
    output.sum().backward()
    assert bias.grad is not None
    assert bias.grad.shape == bias.shape


# -- control flow ------------------------------------------------------------------------------------------------------


def test_a_branch_is_chosen_by_a_known_value(simulation: Simulation) -> None:
    x = torch.ones(3, device="cuda", requires_grad=True)
    chosen: Any = torch.cond(torch.tensor(True, device="cuda"), lambda x: x.repeat(2), lambda x: x.cos(), (x,))
    assert chosen.shape == (6,)
    chosen.sum().backward()
    assert x.grad is not None
    assert "unknown-value" not in codes(simulation)


def test_a_branch_on_an_unknown_value_is_noted(simulation: Simulation) -> None:
    x = torch.randn(3, device="cuda")
    chosen: Any = torch.cond(x.sum() > 0, lambda x: x.sin(), lambda x: x.cos(), (x,))
    assert chosen.shape == (3,)
    assert "unknown-value" in codes(simulation)


def test_a_loop_over_a_known_counter(simulation: Simulation) -> None:
    from torch._higher_order_ops import while_loop  # as a script does, in the simulation

    start = (torch.tensor(0, device="cuda"), torch.ones(3, device="cuda"))
    count, grown = while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), start)
    assert count.item() == 3
    assert grown.tolist() == [8.0, 8.0, 8.0]


@pytest.mark.parametrize(("dim", "reverse", "expected"), [(0, False, [[1.0, 2.0], [4.0, 6.0]]), (1, True, [[3.0, 2.0], [7.0, 4.0]])])
def test_a_scan(dim: int, reverse: bool, expected: list[list[float]], simulation: Simulation) -> None:
    from torch._higher_order_ops import scan

    weight = torch.ones(2, device="cuda", requires_grad=True)
    xs = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda")
    carry, sums = scan(lambda total, x: (total + x, total + x), torch.zeros(2, device="cuda"), xs, dim=dim, reverse=reverse)
    assert sums.tolist() == expected
    carry, sums = scan(lambda total, x: (total * weight + x, total), torch.zeros(2, device="cuda"), xs)
    (carry.sum() + sums.sum()).backward()
    assert weight.grad is not None
