"""What is not emulated says so, and offers a way round."""

import pytest
import torch
from torch import nn

from fakerun.errors import EmulationGapError


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("shared_simulation")
def test_sparse_gradients_are_a_gap() -> None:
    embedding = nn.Embedding(10, 4, sparse=True).cuda()
    loss = embedding(torch.tensor([1, 2]).cuda()).sum()
    with pytest.raises(EmulationGapError, match=r"^A sparse tensor on the device .* not emulated: .* nn.Embedding\(\.\.\., sparse=False\)"):
        loss.backward()
