"""`--torch-behaviour`: what stays allocated after forward differs by what the older torch keeps, to the byte."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn import functional

from fakerun.job.torch_behaviour import TorchBehaviour
from tests.in_process import Simulate

ROWS, COLUMNS = 1024, 2048
ELEMENTS = ROWS * COLUMNS
KEPT_BY_NORM = {
    # The result and, in float32, a number for each row.
    None: 2 * ELEMENTS + 4 * ROWS,
    # The result, what is multiplied by the weight, and a number for each row: all in bfloat16.
    TorchBehaviour.V2_5: (2 + 2) * ELEMENTS + 2 * ROWS,
    # The result and what is multiplied by the weight in bfloat16; the input and a number for each row in float32.
    TorchBehaviour.V2_6: (2 + 2 + 4) * ELEMENTS + 4 * ROWS,
    # The result in bfloat16; the input, what is multiplied by the weight, and a number for each row in float32.
    TorchBehaviour.V2_7: (2 + 4 + 4) * ELEMENTS + 4 * ROWS,
    TorchBehaviour.V2_8: (2 + 4 + 4) * ELEMENTS + 4 * ROWS,
}


def of_module(x: torch.Tensor, weight: nn.Parameter) -> torch.Tensor:
    norm = nn.RMSNorm(COLUMNS, device="meta")
    norm.weight = weight
    return norm(x)


@pytest.mark.usefixtures("no_workspaces")
@pytest.mark.parametrize("behaviour", KEPT_BY_NORM)
@pytest.mark.parametrize("norm", [of_module, lambda x, weight: functional.rms_norm(x, (COLUMNS,), weight=weight)])
def test_what_a_norm_keeps_for_backward(
    simulate: Simulate, behaviour: TorchBehaviour | None, norm: Callable[[torch.Tensor, nn.Parameter], torch.Tensor]
) -> None:
    simulate(torch_behaviour=behaviour)
    x = torch.empty(ROWS, COLUMNS, dtype=torch.bfloat16, device="cuda", requires_grad=True)
    weight = nn.Parameter(torch.empty(COLUMNS, dtype=torch.bfloat16, device="cuda"))
    before = torch.cuda.memory_allocated()
    result = norm(x, weight)
    assert (result.shape, result.dtype) == (x.shape, x.dtype)
    assert torch.cuda.memory_allocated() - before == KEPT_BY_NORM[behaviour]
    result.sum().backward()
    assert x.grad is not None
    assert weight.grad is not None


@pytest.mark.usefixtures("no_workspaces")
@pytest.mark.parametrize("behaviour", [None, TorchBehaviour.V2_6])
def test_a_norm_of_host_tensors_and_without_weight(simulate: Simulate, behaviour: TorchBehaviour | None) -> None:
    simulate(torch_behaviour=behaviour)
    x = torch.arange(8.0).view(2, 4)
    torch.testing.assert_close(functional.rms_norm(x, (4,)), x / (x.square().mean(-1, keepdim=True) + torch.finfo().eps).sqrt())
    assert functional.rms_norm(x.cuda(), (2, 4)).shape == (2, 4)


@pytest.mark.usefixtures("no_workspaces")
@pytest.mark.parametrize("reshard", [True, False, None])
@pytest.mark.parametrize("behaviour", [None, TorchBehaviour.V2_8, TorchBehaviour.V2_7, TorchBehaviour.V2_5])
def test_whether_the_root_stays_gathered(simulate: Simulate, behaviour: TorchBehaviour | None, reshard: bool | None) -> None:
    simulate(nproc_per_node=4, torch_behaviour=behaviour)
    model = nn.Sequential(nn.Linear(1024, 1024, bias=False, device="cuda"), nn.Linear(1024, 512, bias=False, device="cuda"))
    shard = partial(fully_shard, mesh=init_device_mesh("cuda", (4,)))
    shard(model[0])
    shard(model) if reshard is None else shard(model, reshard_after_forward=reshard)
    x: Any = torch.empty(1024, 1024, device="cuda")
    before = torch.cuda.memory_allocated()
    result = model(x)
    kept = torch.cuda.memory_allocated() - before - result.nbytes - 4 * 1024 * 1024  # what the first layer gives the second
    stays = not reshard or behaviour not in (None, TorchBehaviour.V2_8)
    assert kept == (4 * 1024 * 512 if stays else 0)
