"""All ranks log the same keys."""

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
        dist.all_reduce(metric)


loss = model(torch.randn(8, 16, device="cuda")).square().mean()
loss.backward()
log({kind: loss.detach().clone() for kind in ("day", "night")})
for parameter in model.parameters():
    dist.all_reduce(parameter.grad)
optimizer.step()

dist.destroy_process_group()
