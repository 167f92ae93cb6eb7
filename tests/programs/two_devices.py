"""50 GiB on each of two devices, from one rank."""

import torch
import torch.distributed as dist

dist.init_process_group("nccl")
first = torch.empty(50 * 2**30, dtype=torch.uint8, device="cuda:0")
second = torch.empty(50 * 2**30, dtype=torch.uint8, device="cuda:1")
print(torch.cuda.max_memory_allocated(0) / 2**30, torch.cuda.max_memory_allocated(1) / 2**30)
weight = torch.nn.Parameter(torch.zeros(4, device="cuda:0"))
optimizer = torch.optim.SGD([weight], 0.1)
for _ in range(2):
    (weight * 2).sum().backward()
    optimizer.step()
