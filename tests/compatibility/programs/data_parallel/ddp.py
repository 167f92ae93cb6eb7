"""DistributedDataParallel: parameters are broadcast once, gradients are averaged in buckets during backward."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 64)).to(device)
    # Buckets of 50 kB, so that there are several; after the first step they are rebuilt in the order of the gradients.
    ddp = DistributedDataParallel(model, bucket_cap_mb=0.05)
    optimizer = torch.optim.AdamW(ddp.parameters())
    for _ in range(3):
        loss = ddp(torch.randn(8, 64, device=device)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
