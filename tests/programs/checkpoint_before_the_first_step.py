"""A checkpoint before training, for which torch takes an optimizer step of its own, and five training steps."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.distributed.fsdp import fully_shard

device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
torch.cuda.set_device(device)
dist.init_process_group("nccl")
model = nn.Linear(1024, 1024, bias=False, device=device)
fully_shard(model)
optimizer = torch.optim.AdamW(model.parameters())
get_optimizer_state_dict(model, optimizer)
for _ in range(5):
    model(torch.randn(4, 1024, device=device)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
