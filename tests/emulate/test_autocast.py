"""What autocast casts on CUDA, and how long it keeps its copies of weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from fakerun.rank.simulation import Simulation

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64


def x(dtype: torch.dtype = F32, *shape: int) -> torch.Tensor:
    return torch.ones(*(shape or (4, 4)), dtype=dtype, device="cuda")


LOWER = [
    lambda: x() @ x(),
    lambda: torch.mm(x(F16), x()),
    lambda: torch.bmm(x(F32, 2, 4, 4), x(F32, 2, 4, 4)),
    lambda: functional.linear(x(), x(), x(F32, 4)),
    lambda: torch.addmm(x(), x(), x()),
    lambda: torch.einsum("ij,jk->ik", x(), x()),
    lambda: functional.conv2d(x(F32, 1, 4, 8, 8), x(F32, 4, 4, 3, 3)),
    lambda: functional.conv_transpose2d(x(F32, 1, 4, 8, 8), x(F32, 4, 4, 3, 3)),
    lambda: functional.scaled_dot_product_attention(x(F32, 1, 1, 16, 64), x(F32, 1, 1, 16, 64), x(F32, 1, 1, 16, 64)),
    lambda: nn.MultiheadAttention(4, 2).cuda()(x(F32, 3, 1, 4), x(F32, 3, 1, 4), x(F32, 3, 1, 4))[0],
]
FULL = [
    lambda: functional.softmax(x(BF16), -1),
    lambda: functional.log_softmax(x(BF16), -1),
    lambda: functional.layer_norm(x(BF16), (4,)),
    lambda: functional.group_norm(x(BF16), 2),
    lambda: functional.cross_entropy(x(BF16), torch.zeros(4, dtype=torch.int64, device="cuda")),
    lambda: functional.mse_loss(x(BF16), x(BF16)),
    lambda: functional.binary_cross_entropy_with_logits(x(BF16), x(BF16)),
    lambda: x(BF16).exp(),
    lambda: x(BF16).pow(2),
    lambda: x(BF16).sum(),
    lambda: x(BF16).cumsum(0),
    lambda: x(BF16).norm(),
    lambda: torch.ops.aten.norm.Scalar(x(BF16)),
    lambda: torch.rsqrt(x(BF16)),
    lambda: x(BF16) + x(),
    lambda: torch.cat([x(BF16), x()]),
]
UNCHANGED = [
    lambda: functional.gelu(x(BF16)),
    lambda: functional.relu(x(BF16)),
    lambda: x(BF16) * 2,
    lambda: x(BF16).mean(),
    lambda: functional.dropout(x(BF16)),
    lambda: functional.batch_norm(x(BF16), None, None, training=True),
    lambda: torch.addcmul(x(BF16), x(BF16), x(BF16)),
]


@pytest.mark.parametrize(
    ("call", "dtype"),
    [(call, BF16) for call in LOWER] + [(call, F32) for call in FULL] + [(call, BF16) for call in UNCHANGED],
)
def test_the_dtype_of_results(call: Callable[[], Any], dtype: torch.dtype, shared_simulation: Simulation) -> None:
    with torch.autocast("cuda", dtype=BF16):
        assert call().dtype is dtype
    assert (x() @ x()).dtype is F32


def test_regions_nest(shared_simulation: Simulation) -> None:
    with torch.autocast("cuda", dtype=F16):
        assert (x() @ x()).dtype is F16
        with torch.autocast("cuda", enabled=False):
            assert (x() @ x()).dtype is F32
        with torch.autocast("cuda", dtype=BF16):
            assert (x() @ x()).dtype is BF16
        assert (x() @ x()).dtype is F16
        assert torch.is_autocast_enabled("cuda")
    with torch.cuda.amp.autocast():
        assert (x() @ x()).dtype is F16
    with torch.autocast("cpu", dtype=BF16):
        assert (x() @ x()).dtype is F32
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is BF16


def test_double_precision_stays(shared_simulation: Simulation) -> None:
    with torch.autocast("cuda", dtype=BF16):
        assert (x(F64) @ x(F64)).dtype is F64


def test_unsafe_loss_is_refused(shared_simulation: Simulation) -> None:
    with torch.autocast("cuda"), pytest.raises(RuntimeError, match="unsafe to autocast"):
        functional.binary_cross_entropy(x(), x())


def test_a_cast_weight_lives_as_long_as_the_region(shared_simulation: Simulation) -> None:
    layer = nn.Linear(512, 512, bias=False).cuda()
    batch = x(BF16, 1, 512)
    copy = 512 * 512 * 2
    before = torch.cuda.memory_allocated()
    with torch.no_grad(), torch.autocast("cuda", dtype=BF16):
        layer(batch)
        once = torch.cuda.memory_allocated() - before
        layer(batch)
        assert torch.cuda.memory_allocated() - before == once
    assert copy <= once < copy + 4096
    assert torch.cuda.memory_allocated() == before
    with torch.no_grad(), torch.autocast("cuda", dtype=BF16, cache_enabled=False):
        layer(batch)
        assert torch.cuda.memory_allocated() - before < copy


def test_gradients_have_the_dtype_of_parameters(shared_simulation: Simulation) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)).cuda()
    with torch.autocast("cuda", dtype=BF16):
        loss = model(x()).float().sum()
    loss.backward()
    assert {parameter.grad.dtype for parameter in model.parameters() if parameter.grad is not None} == {F32}


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpoint_whose_backward_is_in_the_region(use_reentrant: bool, shared_simulation: Simulation) -> None:
    """Its first forward may run without gradients; the copy of the weight that it leaves in the cache serves the second."""
    model = torch.nn.Linear(8, 8, device="cuda")
    inputs = torch.randn(2, 8, device="cuda", requires_grad=True)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        checkpoint(model, inputs, use_reentrant=use_reentrant).sum().backward()
    assert model.weight.grad is not None


@pytest.mark.usefixtures("shared_simulation")
def test_the_last_argument_is_cast_first() -> None:
    rows, weight = x(F32, 64, 1024), x(F32, 2048, 1024).requires_grad_()
    torch.cuda.memory._record_memory_history(max_entries=1000)
    try:
        with torch.autocast("cuda", BF16):
            output = functional.linear(rows, weight)
        trace = torch.cuda.memory._snapshot()["device_traces"][0]
    finally:
        torch.cuda.memory._record_memory_history(None)
    copies = [weight.numel() * 2, rows.numel() * 2, output.nbytes]
    assert [entry["size"] for entry in trace if entry["action"] == "alloc" and entry["size"] in copies] == copies
