"""Lifetimes of device memory: one block per storage, until the last tensor that shares it is freed."""

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from fakerun.rank.simulation import Simulation
from tests.trace.seen import watch

ROWS, COLUMNS = 8, 64
SIZE = ROWS * COLUMNS * 4
"""Bytes of the tensor that every case starts from: float32, a multiple of the allocator's 512."""


def allocated(device: int = 0) -> int:
    return torch.cuda.memory_allocated(device)


def in_place(x: torch.Tensor) -> None:
    x.add_(1).mul_(2).clamp_(0, 1).zero_()
    x[0] = 3
    x[:, 1:3] += 1
    x.masked_fill_(x > 0, 1)  # the mask is gone when the line is
    torch.relu_(x)
    nn.init.normal_(x)


def into(x: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(x)
    torch.add(x, x, out=out)
    torch.matmul(x, x.new_zeros(COLUMNS, COLUMNS), out=out)
    return out


def into_nothing(x: torch.Tensor) -> torch.Tensor:
    out = torch.empty(0, device="cuda")
    torch.add(x, x, out=out)  # makes room for the result
    return out


def each_in_place(x: torch.Tensor) -> None:
    torch._foreach_add_([x, x], 1.0)
    torch._foreach_mul_([x], [2.0])


def emptied_and_filled(x: torch.Tensor) -> torch.Tensor:
    kept = torch.empty_like(x)
    view = kept[1:]
    before = allocated()
    kept.untyped_storage().resize_(0)
    assert before - allocated() == SIZE
    kept.untyped_storage().resize_(SIZE)
    assert allocated() == before
    return view


def grown(x: torch.Tensor) -> torch.Tensor:
    return torch.empty(4, device="cuda").resize_(ROWS, COLUMNS)


def shrunk(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x).resize_(2)  # the storage keeps its size


def pointed_elsewhere(x: torch.Tensor) -> torch.Tensor:
    return torch.empty(1000, device="cuda").set_(x)  # type: ignore[call-overload]


def data_replaced(x: torch.Tensor) -> torch.Tensor:
    parameter = nn.Parameter(torch.empty(1000, device="cuda"))
    parameter.data = x
    return parameter


def normalised(x: torch.Tensor) -> Any:
    return torch.ops.aten.native_layer_norm(x, [COLUMNS], None, None, 1e-5)  # the result, and a mean and a deviation for each row


class Square(torch.autograd.Function):
    """Keeps its input and a tensor that it computed."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, x + 1)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        x, _ = ctx.saved_tensors
        return 2 * x * gradient


KEPT: list[tuple[str, Callable[[torch.Tensor], Any], int]] = [
    ("view", lambda x: x.view(-1), 0),
    ("slice", lambda x: x[2:4, ::2], 0),
    ("many views", lambda x: [x.t(), x.unsqueeze(0), x.permute(1, 0), x.narrow(0, 1, 2), x.diagonal(), x.flatten(), x.squeeze()], 0),
    ("views of views", lambda x: x.view(-1)[4:].view(-1, 4).t()[0], 0),
    ("detach", lambda x: x.detach(), 0),
    (".data", lambda x: x.data, 0),
    ("alias", lambda x: torch.ops.aten.alias(x), 0),
    ("expand", lambda x: x[:1].expand(1000, COLUMNS), 0),
    ("broadcast", lambda x: torch.broadcast_to(x, (10, ROWS, COLUMNS)), 0),
    ("as_strided", lambda x: x.as_strided((1000, 4), (0, 1)), 0),
    ("unfold", lambda x: x.unfold(1, 4, 1), 0),
    ("split", lambda x: x.split([1, 7]), 0),
    ("split_with_sizes", lambda x: torch.ops.aten.split_with_sizes(x, [1, 7]), 0),
    ("chunk", lambda x: x.chunk(3), 0),
    ("tensor_split", lambda x: x.tensor_split(3, 1), 0),
    ("unbind", lambda x: x.unbind(), 0),
    ("view_as", lambda x: x.view_as(x), 0),
    ("view of another dtype", lambda x: x.view(torch.uint8), 0),
    ("complex view", lambda x: torch.view_as_complex(x.view(ROWS, -1, 2)), 0),
    ("complex parts", lambda x: (torch.view_as_complex(x.view(-1, 2)).real, torch.view_as_complex(x.view(-1, 2)).imag), 0),
    ("conjugate", lambda x: torch.view_as_complex(x.view(-1, 2)).conj(), 0),
    ("conjugate resolved", lambda x: torch.view_as_complex(x.view(-1, 2)).conj().resolve_conj(), SIZE),
    ("contiguous already", lambda x: x.contiguous(), 0),
    ("reshape without a copy", lambda x: x.reshape(4, -1), 0),
    ("reshape with a copy", lambda x: x.t().reshape(-1), SIZE),
    ("contiguous with a copy", lambda x: x.t().contiguous(), SIZE),
    ("to its own dtype", lambda x: x.to(torch.float32), 0),
    ("to its own device", lambda x: x.to("cuda"), 0),
    ("to another dtype", lambda x: x.to(torch.bfloat16), SIZE // 2),
    ("clone", lambda x: x.clone(), SIZE),
    ("clone of an expanded", lambda x: x[:1].expand(ROWS, COLUMNS).clone(memory_format=torch.contiguous_format), SIZE),
    ("clone that keeps the strides", lambda x: x[:1].expand(ROWS, COLUMNS).clone(), SIZE),
    ("empty_like", lambda x: torch.empty_like(x), SIZE),
    ("deep copy", lambda x: __import__("copy").deepcopy(x), SIZE),
    ("one byte", lambda x: torch.empty(1, dtype=torch.bool, device="cuda"), 512),
    ("one byte too many", lambda x: torch.empty(513, dtype=torch.uint8, device="cuda"), 1024),
    ("nothing", lambda x: (torch.empty(0, device="cuda"), x[:0], x[:0].clone(), torch.empty(0, 5, device="cuda") + 1), 0),
    ("concatenated", lambda x: torch.cat([x, x]), 2 * SIZE),
    ("stacked and taken apart", lambda x: torch.stack([x, x]).unbind()[1], 2 * SIZE),
    ("in place", in_place, 0),
    ("in place, returned", lambda x: [x.add_(1), x.zero_()], 0),
    ("each in place", each_in_place, 0),
    ("for each", lambda x: torch._foreach_add([x, x, x], 1.0), 3 * SIZE),
    ("out", into, SIZE),
    ("out, from empty", into_nothing, SIZE),
    ("storage emptied and filled again", emptied_and_filled, SIZE),
    ("resize_ to more", grown, SIZE),
    ("resize_ to less", shrunk, SIZE),
    ("set_", pointed_elsewhere, 0),
    ("data replaced", data_replaced, 0),
    ("layer norm", normalised, SIZE + 2 * 512),
    ("sort", lambda x: x.sort(), SIZE + 2 * SIZE),
    ("max with indices", lambda x: x.max(1), 2 * 512),
    ("top k", lambda x: x.topk(2, 1).indices, 512),
    ("dropout", lambda x: torch.native_dropout(x, 0.5, True), SIZE + SIZE // 4),
    ("inference mode", torch.inference_mode()(lambda x: (*x.chunk(2), x.mT, x.reshape(-1), x.clone())), SIZE),
    ("no_grad", torch.no_grad()(lambda x: x.mul(2).view(-1)), SIZE),
    ("autograd keeps the output of exp", lambda x: x.requires_grad_().exp().sum(), SIZE + 512),
    ("autograd keeps nothing for add", lambda x: (x.requires_grad_() + 1).sum(), 512),
    ("a custom function keeps what it saved", lambda x: Square.apply(x.requires_grad_()).sum(), SIZE + 512),
    (
        "a checkpoint keeps its input alone",
        lambda x: checkpoint(lambda y: y.exp().exp().sum(), x.requires_grad_(), use_reentrant=False),
        512,
    ),
    ("a reentrant checkpoint, too", lambda x: checkpoint(lambda y: y.exp().exp().sum(), x.requires_grad_(), use_reentrant=True), 512),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "added"), [pytest.param(make, added, id=name) for name, make, added in KEPT])
@pytest.mark.usefixtures("shared_simulation")
def test_bytes_kept_by_what_a_line_returns(make: Callable[[torch.Tensor], Any], added: int) -> None:
    gc.collect()
    at_first = allocated()
    for _ in range(2):  # the second time, operators are answered from memory
        x = torch.zeros(ROWS, COLUMNS, device="cuda")
        before = allocated()
        kept = make(x)
        assert allocated() - before == added
        del kept
        assert allocated() == before  # at once: reference counts, not the collector
        del x
        assert allocated() == at_first


@pytest.mark.usefixtures("shared_simulation")
def test_a_view_keeps_its_base() -> None:
    before = allocated()
    x = torch.zeros(ROWS, COLUMNS, device="cuda")
    last = x.view(-1)[-1:]
    del x
    assert allocated() - before == SIZE
    del last
    assert allocated() == before


@pytest.mark.usefixtures("shared_simulation")
def test_a_graph_is_freed_by_backward() -> None:
    before = allocated()
    x = torch.zeros(ROWS, COLUMNS, device="cuda", requires_grad=True)
    loss = x.exp().exp().sum()
    assert allocated() - before == 3 * SIZE + 512
    loss.backward()
    assert allocated() - before == 2 * SIZE + 512  # the tensor, its gradient, the loss
    x.grad = None
    assert allocated() - before == SIZE + 512


@pytest.mark.usefixtures("shared_simulation")
def test_a_graph_that_is_retained_stays() -> None:
    before = allocated()
    x = torch.zeros(ROWS, COLUMNS, device="cuda", requires_grad=True)
    loss = x.exp().sum()
    loss.backward(retain_graph=True)
    assert allocated() - before == 3 * SIZE + 512
    del loss
    assert allocated() - before == 2 * SIZE


@pytest.mark.parametrize("foreach", [False, True, None])
@pytest.mark.usefixtures("shared_simulation")
def test_gradients_and_optimizer_state_live_as_long_as_their_owner(foreach: bool | None) -> None:
    gc.collect()
    before = allocated()
    parameter = nn.Parameter(torch.zeros(ROWS, COLUMNS, device="cuda"))
    optimizer = torch.optim.AdamW([parameter], foreach=foreach)
    parameter.sum().backward()
    optimizer.step()
    assert allocated() - before == 4 * SIZE
    optimizer.zero_grad(set_to_none=False)
    assert allocated() - before == 4 * SIZE
    optimizer.zero_grad()
    assert allocated() - before == 3 * SIZE
    del optimizer
    gc.collect()
    assert allocated() - before == SIZE
    del parameter
    gc.collect()
    assert allocated() == before


@pytest.mark.parametrize("use_reentrant", [False, True])
@pytest.mark.usefixtures("shared_simulation")
def test_a_checkpointed_part_is_allocated_again_in_backward(use_reentrant: bool) -> None:
    before = allocated()
    x = torch.zeros(ROWS, COLUMNS, device="cuda", requires_grad=True)
    loss = checkpoint(lambda y: y.exp().exp().exp().sum(), x, use_reentrant=use_reentrant)
    assert allocated() - before == SIZE + 512
    torch.cuda.reset_peak_memory_stats()
    loss.backward()
    assert torch.cuda.max_memory_allocated() - before >= 4 * SIZE
    del loss
    assert allocated() - before == 2 * SIZE


def test_growing_a_storage_takes_both_sizes_for_a_moment(shared_simulation: Simulation) -> None:
    x = torch.empty(128, device="cuda")
    before = allocated()
    torch.cuda.reset_peak_memory_stats()
    with watch(shared_simulation) as seen:
        x.untyped_storage().resize_(SIZE)
    assert torch.cuda.max_memory_allocated() - before == SIZE
    assert allocated() - before == SIZE - 512
    (block,) = seen.blocks
    assert block.requested_bytes == SIZE


@pytest.mark.usefixtures("shared_simulation")
def test_each_device_has_its_own_counters() -> None:
    before = allocated(0), allocated(1)
    x = torch.zeros(ROWS, COLUMNS, device="cuda:1")
    assert (allocated(0), allocated(1)) == (before[0], before[1] + SIZE)
    y = x.to("cuda:0")
    assert (allocated(0), allocated(1)) == (before[0] + SIZE, before[1] + SIZE)
    with torch.cuda.device(1):
        assert torch.cuda.memory_allocated() == before[1] + SIZE
    del x
    assert (allocated(0), allocated(1)) == (before[0] + SIZE, before[1])
    del y
