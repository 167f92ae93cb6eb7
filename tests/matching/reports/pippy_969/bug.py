"""PiPPy #969: a pipeline with a skip connection from stage 0 to stage 2. Stage 0 sends to both in one batch, stage 2 receives from
both in one batch; stage 1 can only send to stage 2 when it has received from stage 0. A batch is done when all of it is: each waits
for another.
"""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
stage = nn.Linear(16, 16).cuda()
optimizer = torch.optim.SGD(stage.parameters(), lr=0.1)


def exchange(*operations: dist.P2POp) -> None:
    for work in dist.batch_isend_irecv(list(operations)):  # BUG
        work.wait()
    torch.cuda.synchronize()


inputs, skipped = torch.randn(8, 16, device="cuda"), torch.empty(8, 16, device="cuda")
if rank == 1:
    exchange(dist.P2POp(dist.irecv, inputs, 0))
elif rank == 2:
    exchange(dist.P2POp(dist.irecv, inputs, 1), dist.P2POp(dist.irecv, skipped, 0))
outputs = stage(inputs + skipped if rank == 2 else inputs)
outputs.square().mean().backward()
if rank == 0:
    exchange(dist.P2POp(dist.isend, outputs.detach(), 1), dist.P2POp(dist.isend, outputs.detach(), 2))
elif rank == 1:
    exchange(dist.P2POp(dist.isend, outputs.detach(), 2))
optimizer.step()

dist.destroy_process_group()
