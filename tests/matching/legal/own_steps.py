"""Members of two groups do different amounts of work: only ranks that share a group must agree, and in that group only."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
generator, critic = dist.new_group([0, 1]), dist.new_group([2, 3])
group, steps = (generator, 3) if rank < 2 else (critic, 5)
model = nn.Linear(16, 4 if rank < 2 else 1).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for _ in range(steps):
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad, group=group)
    optimizer.step()
    optimizer.zero_grad()
dist.barrier()

dist.destroy_process_group()
