"""Under autocast the first stage's activations are bfloat16, and so the second receives them."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
stage = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(stage.parameters(), lr=0.1)

for _ in range(2):
    with torch.autocast("cuda", dtype=torch.bfloat16):
        if rank == 0:
            outputs = stage(torch.randn(4, 16, device="cuda"))
            dist.send(outputs.detach(), dst=1)
        else:
            inputs = torch.empty(4, 16, device="cuda", dtype=torch.bfloat16)
            dist.recv(inputs, src=0)
            outputs = stage(inputs)
    outputs.float().square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
