"""Post-local SGD: after a warm-up ranks train on their own and average their parameters every few steps."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.optim import PostLocalSGDOptimizer
from torch.nn.parallel import DistributedDataParallel

WARM_UP = 2


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    torch.manual_seed(0)
    ddp = DistributedDataParallel(nn.Linear(16, 4).to(device))
    subgroup, _ = dist.new_subgroups(group_size=2)
    ddp.register_comm_hook(PostLocalSGDState(None, subgroup, start_localSGD_iter=WARM_UP), post_localSGD_hook)
    averager = PeriodicModelAverager(period=2, warmup_steps=WARM_UP)
    optimizer = PostLocalSGDOptimizer(torch.optim.SGD(ddp.parameters(), lr=0.1), averager)
    for _ in range(6):
        ddp(torch.randn(8, 16, device=device)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
