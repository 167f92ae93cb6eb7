"""DDP with find_unused_parameters=True: a branch that a step does not take has no gradients, and the ranks still agree."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(32, 64)
        self.heads = nn.ModuleList([nn.Linear(64, 4), nn.Linear(64, 16)])

    def forward(self, x: torch.Tensor, task: int) -> torch.Tensor:
        hidden = torch.relu(self.trunk(x))
        return self.heads[task](hidden)  # type: ignore[no-any-return]


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    torch.manual_seed(0)
    ddp = DistributedDataParallel(TwoHeads().to(device), find_unused_parameters=True)
    optimizer = torch.optim.AdamW(ddp.parameters())
    for step in range(4):
        ddp(torch.randn(8, 32, device=device), step % 2).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
