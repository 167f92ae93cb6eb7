"""ColossalAI #1175: the stages of a pipeline each look for an overflow in their own gradients. One that finds some skips the update, with
the all_reduce of the gradient norm in it, for which the other stages wait.
"""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
stage = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(stage.parameters(), lr=0.1)

OVERFLOWS = [[], [], [1], []]  # the steps in which the gradients of each stage overflow

for step in range(3):
    stage(torch.randn(8, 16, device="cuda")).square().mean().backward()
    skipped = step in OVERFLOWS[rank]
    if not skipped:
        norm = torch.stack([parameter.grad.norm() for parameter in stage.parameters() if parameter.grad is not None]).norm().square()
        dist.all_reduce(norm)  # BUG
        optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
