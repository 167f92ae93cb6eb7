"""All ranks get the sum."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

mesh = init_device_mesh("cuda", (4,))
rank = dist.get_rank()
model = nn.Linear(16, 4, bias=False, device="cuda")
fully_shard(model, mesh=mesh)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

EXACT_MATCHES = [[5, 5, 5, 5], [7, 5, 4, 5]]  # answers found right on the host, by epoch and rank

best = 0
for matches in EXACT_MATCHES:
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    correct = torch.tensor(matches[rank], device="cuda")
    dist.all_reduce(correct)
    if correct.item() > best:
        best = int(correct.item())
        weight = model.weight
        assert isinstance(weight, DTensor)
        weight.full_tensor()

dist.destroy_process_group()
