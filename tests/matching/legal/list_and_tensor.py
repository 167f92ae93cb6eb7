"""Rank 0 gathers into a list, to look at each part, the others into one tensor: one operation for NCCL, in two forms."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def gather(part: torch.Tensor, parts: list[torch.Tensor] | None) -> torch.Tensor:
    whole = torch.empty(ranks * len(part), 4, device="cuda")
    work = dist.all_gather_into_tensor(whole, part, async_op=True) if parts is None else dist.all_gather(parts, part, async_op=True)
    assert work is not None
    work.wait()
    return whole if parts is None else torch.cat(parts)


for _ in range(2):
    predictions = model(torch.randn(8, 16, device="cuda"))
    predictions.square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
    everyone = gather(predictions.detach(), [torch.empty(8, 4, device="cuda") for _ in range(ranks)] if rank == 0 else None)

dist.destroy_process_group()
