"""nccl #479: two ranks exchange tensors, and both send before they receive. NCCL's send waits for its receive, so both wait for ever;
in one group of calls (`batch_isend_irecv`) they would not.
"""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
peer = 1 - rank

mine = model(torch.randn(8, 16, device="cuda"))
mine.square().mean().backward()
theirs = torch.empty_like(mine)
dist.send(mine.detach(), dst=peer)  # BUG
dist.recv(theirs, src=peer)
optimizer.step()

dist.destroy_process_group()
