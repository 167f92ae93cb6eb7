"""Tokens go to the experts' ranks in an all-to-all; rank 2 drops those above an expert's capacity, but after it has announced them."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
expert = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(expert.parameters(), lr=0.1)

CAPACITY = 4
wanted = [[2, 2, 2, 2], [1, 3, 2, 2], [1, 1, 1, 5], [2, 2, 3, 1]][rank]  # tokens for each rank's expert
kept = [min(count, CAPACITY) for count in wanted]

announced = torch.tensor(wanted, device="cuda")
coming = torch.empty_like(announced)
dist.all_to_all_single(coming, announced)
tokens = torch.randn(sum(kept), 16, device="cuda")
received = torch.empty(int(coming.sum()), 16, device="cuda")
dist.all_to_all_single(received, tokens, coming.tolist(), kept)  # BUG
expert(received).square().mean().backward()
optimizer.step()

dist.destroy_process_group()
