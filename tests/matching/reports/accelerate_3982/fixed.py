"""All ranks go through the keys of the sharded model."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

mesh = init_device_mesh("cuda", (4,))
rank = dist.get_rank()
layers = nn.ModuleDict({name: nn.Linear(16, size, bias=False, device="cuda") for name, size in (("q", 16), ("k", 8), ("v", 8), ("o", 32))})
for layer in layers.values():
    fully_shard(layer, mesh=mesh)
sharded = layers.state_dict()

full: dict[str, torch.Tensor] = {}
for name, parameter in sharded.items():
    full[name] = torch.randn(parameter.shape)
    if name.startswith("k"):
        full[f"{name}.absmax"] = torch.randn(parameter.shape[0])

if rank == 0:
    for name in sharded:
        dist.broadcast(full[name].cuda(), src=0)
else:
    for parameter in sharded.values():
        dist.broadcast(torch.empty(parameter.shape, device="cuda"), src=0)

optimizer = torch.optim.SGD(layers.parameters(), lr=0.1)
layers["q"](torch.randn(8, 16, device="cuda")).square().mean().backward()
optimizer.step()

dist.destroy_process_group()
