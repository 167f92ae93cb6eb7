"""The shard of rank 1 is not there: it fails, and the others wait for it, in one group after the other."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

mesh = init_device_mesh("cuda", (2, 2), mesh_dim_names=("dp", "tp"))
rank = mesh.get_rank()
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for parameter in model.parameters():
    dist.broadcast(parameter.data, src=0)

shards = {0: 8, 2: 8, 3: 8}  # samples, by rank
samples = torch.randn(shards[rank], 16, device="cuda")  # BUG
for _ in range(2):
    model(samples).square().mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad, group=mesh["tp"].get_group())
        dist.all_reduce(parameter.grad, group=mesh["dp"].get_group())
    optimizer.step()
    optimizer.zero_grad()
dist.barrier()

dist.destroy_process_group()
