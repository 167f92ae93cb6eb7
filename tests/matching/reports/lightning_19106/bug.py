"""pytorch-lightning #19106: each rank logs a dictionary of metrics, which are averaged over the ranks one by one. The keys depend on what
was in the rank's batch: one without night images has a metric less, and is an all_reduce short.
"""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = nn.Linear(16, 4).cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

KINDS = [("day", "night"), ("day", "night"), ("day",), ("day", "night")]  # of images in the batch of each rank


def log(metrics: dict[str, torch.Tensor]) -> None:
    for metric in metrics.values():
        dist.all_reduce(metric)  # PEER


loss = model(torch.randn(8, 16, device="cuda")).square().mean()
loss.backward()
log({kind: loss.detach().clone() for kind in KINDS[rank]})
for parameter in model.parameters():
    dist.all_reduce(parameter.grad)  # BUG
optimizer.step()

dist.destroy_process_group()
