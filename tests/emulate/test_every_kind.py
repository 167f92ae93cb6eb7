"""All ways to name a device, and modules of every kind: many small cases in one simulation."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from fakerun.rank.simulation import Simulation

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    "place",
    [
        lambda x: x.to(1),
        lambda x: x.cuda(1),
        lambda x: x.cuda("cuda:1", non_blocking=True),
        lambda x: x.to("cuda:1", non_blocking=True),
        lambda x: x.to(torch.device(1)),
        lambda x: x.to(device=1),
        lambda x: x.to(torch.ones(1, device="cuda:1")),
        lambda x: x.to("cuda:1", torch.float16),
        lambda x: x.new_zeros(3, device=1),
        lambda x: torch.randn(3, device=1),
        lambda x: torch.zeros_like(x, device="cuda:1"),
        lambda x: torch.tensor([1.0, 2.0, 3.0], device=1),
        lambda x: torch.full((3,), 2.0, device=torch.device("cuda", 1)),
        lambda x: torch.as_tensor([1.0, 2.0, 3.0], device="cuda:1"),
        lambda x: torch.arange(3, device=1),
        lambda x: torch.from_numpy(x.numpy()).to(1),
        lambda x: nn.Linear(3, 3).to(1).weight[0],
        lambda x: nn.Linear(3, 3).cuda(1).weight[0],
        lambda x: nn.Linear(3, 3, device=1).weight[0],
        lambda x: nn.Linear(3, 3).to(device="cuda:1", dtype=torch.bfloat16).weight[0],
    ],
)
def test_every_way_to_name_a_device(place: Any, shared_simulation: Simulation) -> None:
    tensor = place(torch.ones(3))
    assert tensor.device == torch.device("cuda", 1)
    assert tensor.shape == (3,)
    assert tensor.is_cuda
    assert tensor.device.type == "cuda"
    assert tensor.get_device() == 1


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(torch.float32, "torch.cuda.FloatTensor"), (torch.bfloat16, "torch.cuda.BFloat16Tensor"), (torch.int64, "torch.cuda.LongTensor")],
)
def test_type_names_the_cuda_tensor_type(dtype: torch.dtype, name: str, shared_simulation: Simulation) -> None:
    assert torch.ones(2, dtype=dtype, device="cuda").type() == name


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2), (4, 10, 32)),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, norm_first=True), 2, enable_nested_tensor=False), (10, 4, 32)),
        (nn.LSTM(16, 32, num_layers=2, batch_first=True, dropout=0.1), (4, 10, 16)),
        (nn.GRU(16, 32, bidirectional=True), (10, 4, 16)),
        (nn.RNN(16, 32), (10, 4, 16)),
        (nn.Sequential(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.GroupNorm(2, 8)), (4, 4, 10)),
        (nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.Upsample(scale_factor=2)), (4, 3, 8, 8)),
        (nn.Sequential(nn.ConvTranspose2d(3, 8, 3), nn.InstanceNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Dropout2d()), (4, 3, 8, 8)),
        (nn.Sequential(nn.Linear(16, 8), nn.RMSNorm(8), nn.Softmax(-1), nn.SiLU()), (4, 16)),
    ],
)
@pytest.mark.parametrize("mode", ["train", "eval", "inference", "autocast"])
def test_modules_of_every_kind(model: nn.Module, batch: tuple[int, ...], mode: str, shared_simulation: Simulation) -> None:
    model = copy.deepcopy(model).cuda().train(mode in ("train", "autocast"))
    x = torch.randn(batch, device="cuda")
    with torch.inference_mode(mode == "inference"), torch.autocast("cuda", torch.bfloat16, enabled=mode == "autocast"):
        output = model(x)
    output = output[0] if isinstance(output, tuple) else output
    assert output.is_cuda
    if mode != "inference":
        output.float().sum().backward()
        assert all(parameter.grad is not None and parameter.grad.is_cuda for parameter in model.parameters())
