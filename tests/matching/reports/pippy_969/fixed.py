"""Each message is a batch of its own."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
stage = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(stage.parameters(), lr=0.1)


def exchange(*operations: dist.P2POp) -> None:
    for work in dist.batch_isend_irecv(list(operations)):
        work.wait()
    torch.cuda.synchronize()


inputs, skipped = torch.randn(8, 16, device="cuda"), torch.empty(8, 16, device="cuda")
if rank == 1:
    exchange(dist.P2POp(dist.irecv, inputs, 0))
elif rank == 2:
    exchange(dist.P2POp(dist.irecv, skipped, 0))
    exchange(dist.P2POp(dist.irecv, inputs, 1))
outputs = stage(inputs + skipped if rank == 2 else inputs)
outputs.square().mean().backward()
if rank == 0:
    exchange(dist.P2POp(dist.isend, outputs.detach(), 1))
    exchange(dist.P2POp(dist.isend, outputs.detach(), 2))
elif rank == 1:
    exchange(dist.P2POp(dist.isend, outputs.detach(), 2))
optimizer.step()

dist.destroy_process_group()
