"""All ranks start them in the same order."""

from functools import partial

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.cuda.set_device(rank)
everybody = list(range(ranks))
sharded, replicated = dist.new_group(everybody), dist.new_group(everybody)
dense = nn.Linear(16, 4, bias=False).cuda()
optimizer = torch.optim.SGD(dense.parameters(), lr=0.1)

embeddings, received = torch.randn(2, ranks * 2, 16, device="cuda")
for _ in range(2):
    dense(received).square().mean().backward()
    lookup = partial(dist.all_to_all_single, received, embeddings, group=sharded, async_op=True)
    gradient = partial(dist.all_reduce, dense.weight.grad, group=replicated, async_op=True)
    for work in [start() for start in (lookup, gradient)]:
        assert work is not None
        work.wait()
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
