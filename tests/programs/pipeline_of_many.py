"""A pipeline of four stages that learn their shapes from each other, with data and tensor parallel ranks; rank 5 may go its own way."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

STAGES = 4

torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
mesh = init_device_mesh("cuda", (STAGES, int(os.environ["WORLD_SIZE"]) // (2 * STAGES), 2), mesh_dim_names=("pp", "dp", "tp"))
stage = mesh["pp"].get_local_rank()
layer = nn.Linear(16, 16).cuda()
schedule = Schedule1F1B(
    PipelineStage(layer, stage, STAGES, torch.device("cuda"), group=mesh["pp"].get_group()),
    n_microbatches=8,
    loss_fn=lambda output, target: (output - target).pow(2).mean(),
)
optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
if "--stray" in sys.argv and dist.get_rank() == 5:
    dist.all_reduce(torch.ones(3, device="cuda"), group=mesh["dp"].get_group())  # BUG
for _ in range(2):
    batch = torch.randn(8, 16, device="cuda")
    optimizer.zero_grad()
    schedule.step(*([batch] if stage == 0 else []), target=batch if stage == STAGES - 1 else None)
    for parameter in layer.parameters():
        dist.all_reduce(parameter.grad, group=mesh["dp"].get_group())
    optimizer.step()
