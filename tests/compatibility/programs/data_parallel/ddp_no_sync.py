"""DDP with gradient accumulation: inside no_sync() gradients stay on the rank, the last micro-batch sends their sum."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

MICRO_BATCHES = 4


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 1)).to(device)
    ddp = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.AdamW(ddp.parameters())
    for _ in range(2):
        with ddp.no_sync():
            for _ in range(MICRO_BATCHES - 1):
                (ddp(torch.randn(8, 32, device=device)).mean() / MICRO_BATCHES).backward()
        (ddp(torch.randn(8, 32, device=device)).mean() / MICRO_BATCHES).backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
