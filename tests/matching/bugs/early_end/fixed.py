"""The shard of rank 1 is there, as those of the others."""

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

shards = {0: 8, 1: 8, 2: 8, 3: 8}
samples = torch.randn(shards[rank], 16, device="cuda")
for _ in range(2):
    model(samples).square().mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad, group=mesh["tp"].get_group())
        dist.all_reduce(parameter.grad, group=mesh["dp"].get_group())
    optimizer.step()
    optimizer.zero_grad()
dist.barrier()

dist.destroy_process_group()
