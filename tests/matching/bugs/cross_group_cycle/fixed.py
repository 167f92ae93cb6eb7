"""On a 2 x 2 mesh all ranks reduce along the data-parallel axis first."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

mesh = init_device_mesh("cuda", (2, 2), mesh_dim_names=("dp", "tp"))
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

dp, tp = mesh["dp"].get_group(), mesh["tp"].get_group()
even = sum(mesh.get_coordinate() or ()) % 2 == 0
order = [dp, tp]

for _ in range(2):
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    for parameter in model.parameters():
        for group in order:
            dist.all_reduce(parameter.grad, group=group)
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
