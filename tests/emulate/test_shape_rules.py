"""Operators without a shape rule in torch for the device."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import nn

from fakerun.errors import EmulationGapError
from fakerun.rank.simulation import Simulation


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam", "AdamW"])
@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {}], ids=str)
def test_every_kind_of_step(name: str, options: dict[str, bool], simulation: Simulation) -> None:
    if name == "Adagrad" and "fused" in options and torch.__version__ < "2.13":
        pytest.skip("torch 2.11 has no fused Adagrad on CUDA")
    model = nn.Linear(4, 4).cuda()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=0.1, **options)
    for _ in range(2):
        model(torch.ones(2, 4, device="cuda")).sum().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@pytest.mark.parametrize("place", ["cpu", "cuda"])
def test_a_learning_rate_that_is_a_tensor(name: str, place: str, simulation: Simulation) -> None:
    model = nn.Linear(4, 4).cuda()
    optimizer = getattr(torch.optim, name)(model.parameters(), lr=torch.tensor(0.1, device=place), fused=True)
    for _ in range(2):
        model(torch.ones(2, 4, device="cuda")).sum().backward()
        optimizer.step()
    assert optimizer.state[model.weight]["step"].item() == 2


def connectionist_loss(reduction: str) -> torch.Tensor:
    scores = torch.randn(6, 2, 5, device="cuda", requires_grad=True).log_softmax(-1)
    targets = torch.ones(2, 3, dtype=torch.long, device="cuda")
    return F.ctc_loss(scores, targets, torch.tensor([6, 6]), torch.tensor([3, 3]), reduction=reduction).sum()


def learned(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, device="cuda", requires_grad=True)


DIFFERENTIABLE: list[tuple[str, Callable[[], Any]]] = [
    ("ctc_loss", lambda: connectionist_loss("mean")),
    ("ctc_loss, summed", lambda: connectionist_loss("sum")),
    ("multi_margin_loss", lambda: F.multi_margin_loss(learned(4, 5), torch.zeros(4, dtype=torch.long, device="cuda"))),
    ("multilabel_margin_loss", lambda: F.multilabel_margin_loss(learned(4, 5), torch.zeros(4, 5, dtype=torch.long, device="cuda"))),
    ("quantile", lambda: torch.quantile(learned(6, 5), 0.5)),
    ("fake quantisation", lambda: torch.fake_quantize_per_tensor_affine(learned(6, 5), 0.1, 0, 0, 255).sum()),
    ("Gamma", lambda: torch.distributions.Gamma(learned(3).exp(), torch.ones(3, device="cuda")).rsample().sum()),
    ("Dirichlet", lambda: torch.distributions.Dirichlet(learned(3).exp()).rsample().sum()),
    ("embedding_bag", lambda: nn.EmbeddingBag(10, 4).cuda()(torch.tensor([1, 2, 3]).cuda(), torch.tensor([0, 2]).cuda()).sum()),
]


@pytest.mark.parametrize("make", [make for _, make in DIFFERENTIABLE], ids=[name for name, _ in DIFFERENTIABLE])
def test_losses_and_samples_with_gradients(make: Callable[[], Any], simulation: Simulation) -> None:
    loss = make()
    assert loss.is_cuda
    loss.backward()


def test_packed_sequences_have_the_length_of_their_parts(simulation: Simulation) -> None:
    lengths = torch.tensor([5, 3])
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(2, 5, 8, device="cuda", requires_grad=True), lengths, batch_first=True)
    assert packed.data.shape == (8, 8)
    assert packed.batch_sizes.tolist() == [2, 2, 2, 1, 1]
    output, _ = nn.LSTM(8, 16, batch_first=True).cuda()(packed)
    padded, found = nn.utils.rnn.pad_packed_sequence(output, batch_first=True)
    assert padded.shape == (2, 5, 16)
    assert torch.equal(found, lengths)
    padded.sum().backward()


def test_an_encoder_with_padding_is_evaluated(simulation: Simulation) -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2).cuda().eval()
    with torch.no_grad():
        output = encoder(torch.ones(2, 5, 16, device="cuda"), src_key_padding_mask=torch.zeros(2, 5, dtype=torch.bool, device="cuda"))
    assert output.shape == (2, 5, 16)


def test_gradients_of_functions(simulation: Simulation) -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 4)).cuda()
    parameters, x = dict(model.named_parameters()), torch.ones(2, 16, device="cuda")

    def loss(parameters: Any, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = torch.func.functional_call(model, parameters, (x,))
        return output.sum()

    assert torch.func.grad(loss)(parameters, x)["0.weight"].shape == (32, 16)
    per_sample = torch.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, x)
    assert per_sample["0.weight"].shape == (2, 32, 16)
    assert per_sample["0.weight"].is_cuda


def test_a_lazy_module_is_a_gap_until_it_has_sizes(simulation: Simulation) -> None:
    with pytest.raises(EmulationGapError, match=r"^Moving a lazy module .* is not emulated: .* run the first forward on the host"):
        nn.LazyLinear(4).cuda()
    lazy = nn.LazyLinear(4)
    lazy(torch.ones(2, 3))
    assert lazy.cuda()(torch.ones(2, 3, device="cuda")).shape == (2, 4)
