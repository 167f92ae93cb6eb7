"""A mesh whose axes have names of the script's own."""

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh

mesh = init_device_mesh("cuda", (2, 4), mesh_dim_names=("data", "model"))
dist.all_reduce(torch.ones(4, device="cuda"), group=mesh["model"].get_group())
dist.all_reduce(torch.ones(4, device="cuda"), group=mesh["data"].get_group())
weight = torch.nn.Parameter(torch.zeros(4, device="cuda"))
optimizer = torch.optim.SGD([weight], 0.1)
for _ in range(2):
    (weight * 2).sum().backward()
    optimizer.step()
