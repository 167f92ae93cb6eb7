"""Tokens go to experts in uneven numbers, some ranks get none; the numbers are exchanged first, and all ranks make the same calls."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
expert = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(expert.parameters(), lr=0.1)

TOKENS = [[0, 8, 0, 0], [3, 1, 2, 0], [1, 1, 6, 0], [8, 0, 0, 0]]  # by rank, for each rank's expert

sent = TOKENS[rank]
coming = torch.empty(4, dtype=torch.int64, device="cuda")
dist.all_to_all_single(coming, torch.tensor(sent, device="cuda"))
received = torch.empty(int(coming.sum()), 16, device="cuda")
dist.all_to_all_single(received, torch.randn(sum(sent), 16, device="cuda"), coming.tolist(), sent)
outputs = expert(received)
returned = torch.empty(sum(sent), 16, device="cuda")
dist.all_to_all_single(returned, outputs.detach(), sent, coming.tolist())
outputs.sum().backward()
optimizer.step()

dist.destroy_process_group()
