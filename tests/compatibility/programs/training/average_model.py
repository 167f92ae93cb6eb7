"""Tied weights and an exponential moving average of the model under DDP; the average is broadcast from rank 0 when it is done."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 32)
        self.head = nn.Linear(32, 100, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(tokens))


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    ddp = DistributedDataParallel(Tied().to(device))
    average = AveragedModel(ddp.module, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    optimizer = torch.optim.AdamW(ddp.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    tokens = torch.arange(16, device=device).view(2, 8)
    for _ in range(3):
        nn.functional.cross_entropy(ddp(tokens).flatten(0, 1), tokens.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(ddp.module)
        schedule.step()
    for parameter in average.parameters():
        dist.broadcast(parameter.data, src=0)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
