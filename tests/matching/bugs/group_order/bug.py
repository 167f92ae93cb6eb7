"""Gradients and metrics travel in groups of their own, side by side; rank 1 starts them in the other order."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4, bias=False).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
gradients, metrics = dist.new_group([0, 1]), dist.new_group([0, 1])

for _ in range(2):
    loss = model(torch.randn(8, 16, device="cuda")).square().mean()
    loss.backward()
    messages = [(model.weight.grad, gradients), (loss.detach(), metrics)]
    if rank == 1:
        messages.reverse()
    pending = [dist.all_reduce(tensor, group=group, async_op=True) for tensor, group in messages]  # BUG
    for work in pending:
        assert work is not None
        work.wait()
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
