"""A pipeline of four ranks under a schedule of the user's choice, which learns its shapes on the way, over replicas that FSDP2 shards."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, schedules

DIM, MICROBATCHES, SAMPLES, STEPS = 16, 8, 2, 2
PIPELINE, REPLICAS = 4, 2

name, *stages_by_rank = sys.argv[1:]
indices = [int(index) for index in stages_by_rank[int(os.environ["RANK"]) // REPLICAS].split(",")]
stages_in_all = PIPELINE * len(indices)
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
device = torch.device("cuda")
mesh = init_device_mesh("cuda", (PIPELINE, REPLICAS), mesh_dim_names=("pp", "dp"))
modules = [nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU()).to(device) for _ in indices]
for module in modules:
    fully_shard(module, mesh=mesh["dp"], reshard_after_forward=False)
stages = [
    PipelineStage(module, index, stages_in_all, device, group=mesh["pp"].get_group())
    for module, index in zip(modules, indices, strict=True)
]
schedule = getattr(schedules, name)(stages if len(indices) > 1 else stages[0], MICROBATCHES, loss_fn=nn.functional.mse_loss)
optimizer = torch.optim.AdamW([parameter for module in modules for parameter in module.parameters()], lr=1e-3)
for _ in range(STEPS):
    batch = torch.randn(MICROBATCHES * SAMPLES, DIM, device=device)
    schedule.step(*([batch] if 0 in indices else []), target=batch if stages_in_all - 1 in indices else None)
    optimizer.step()
    optimizer.zero_grad()
dist.destroy_process_group()
