"""Rank 0 brings the checkpoint to the bfloat16 in which the others have made their model."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)

if rank == 0:
    checkpoint = nn.Linear(16, 4).state_dict()  # of an earlier run, in float32
    model = nn.Linear(16, 4)
    model.load_state_dict(checkpoint)
    model = model.to("cuda", torch.bfloat16)
else:
    model = nn.Linear(16, 4).to("cuda", torch.bfloat16)
for parameter in model.parameters():
    dist.broadcast(parameter.data, src=0)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for _ in range(2):
    model(torch.randn(8, 16, device="cuda", dtype=parameter.dtype)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
