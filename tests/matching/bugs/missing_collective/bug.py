"""Ranks count the tokens that they learn from; a rank whose batch is all padding leaves the count out, and is one call ahead."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

TOKENS = [[7, 5], [8, 8], [0, 6], [4, 8]]  # not padding, by rank and batch

for tokens in TOKENS[rank]:
    model(torch.randn(8, 16, device="cuda")).square().mean().backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)  # BUG
    counted = torch.tensor(tokens, device="cuda")
    if tokens:
        dist.all_reduce(counted)  # PEER
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
