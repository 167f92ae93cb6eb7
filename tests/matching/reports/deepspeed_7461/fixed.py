"""Every expert is called, those without tokens on an empty batch."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

mesh = init_device_mesh("cuda", (4,))
rank = dist.get_rank()


class MixtureOfExperts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(16, 16, bias=False) for _ in range(4))

    def forward(self, tokens: torch.Tensor, choices: torch.Tensor) -> torch.Tensor:
        mixed = torch.zeros_like(tokens)
        for hit in range(len(self.experts)):
            chosen = choices == hit
            mixed[chosen] = self.experts[hit](tokens[chosen])
        return mixed


model = MixtureOfExperts().cuda()
for expert in model.experts:
    fully_shard(expert, mesh=mesh)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

CHOICES = [
    [0, 1, 2, 3, 0, 1],
    [3, 2, 1, 0, 3, 3],
    [1, 1, 2, 2, 0, 0],
    [0, 3, 1, 2, 2, 1],
]

loss = model(torch.randn(6, 16, device="cuda"), torch.tensor(CHOICES[rank], device="cuda")).square().mean()
loss.backward()
optimizer.step()

dist.destroy_process_group()
