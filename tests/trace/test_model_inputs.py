"""Which tensors count as what a model is given, and in which training step."""

from typing import Any

import pytest
import torch
from torch import nn

from fakerun.rank.simulation import Simulation
from fakerun.records.run import ModelInput

pytestmark = pytest.mark.filterwarnings("ignore")


class Words(nn.Module):
    """Embeds token ids; takes what else a model may be given."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(16, 4, device="cuda"), nn.Linear(4, 2, device="cuda")

    def forward(self, ids: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
        output: torch.Tensor = self.head(self.embedding(ids))
        return output


def ids(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.long, device="cuda")


def inputs(simulation: Simulation) -> list[ModelInput]:
    return list(simulation.record(None).model_inputs)


def test_calls_are_counted_by_training_step(simulation: Simulation) -> None:
    model, loss = Words(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters())
    for batch in (2, 3):
        for _ in range(2):
            loss(model(ids(batch, 8)).flatten(0, 1), ids(batch * 8)).backward()
        optimizer.step()
    with torch.no_grad():
        model(ids(5, 8))
    model(ids(1, 8))
    assert inputs(simulation) == [
        ModelInput(step=0, model=0, shape=(2, 8), calls=2),
        ModelInput(step=1, model=0, shape=(3, 8), calls=2),
        ModelInput(step=2, model=0, shape=(1, 8)),
    ]


def test_the_largest_of_a_batch_counts(simulation: Simulation) -> None:
    Words()({"ids": ids(2, 8), "lengths": ids(2)}["ids"], {"mask": torch.ones(2, 1, 8, 8, device="cuda"), "labels": [ids(2, 8)]})
    assert [each.shape for each in inputs(simulation)] == [(2, 8)]


def test_packed_tokens_have_one_axis(simulation: Simulation) -> None:
    Words()(ids(24), lengths=ids(3).int())
    assert [each.shape for each in inputs(simulation)] == [(24,)]


class Classifier(nn.Module):
    """Takes images with their labels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 16, device="cuda")

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self.head(images.flatten(1)), labels)


def test_labels_are_no_tokens(simulation: Simulation) -> None:
    Classifier()(torch.ones(2, 3, 2, 2, device="cuda"), ids(2))
    assert inputs(simulation) == []


def test_models_are_told_apart(simulation: Simulation) -> None:
    for model in (Words(), Words()):
        model(ids(2, 8))
    assert [each.model for each in inputs(simulation)] == [0, 1]
