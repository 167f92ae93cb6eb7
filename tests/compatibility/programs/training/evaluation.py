"""Training and evaluation by turns: sampled data, inference without gradients, metrics reduced and logged, a barrier between."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def evaluate(model: nn.Module, loader: DataLoader[Any], device: torch.device) -> float:
    model.eval()
    counts = torch.zeros(2, device=device)
    with torch.inference_mode():
        for inputs, labels in loader:
            predicted = model(inputs.to(device)).argmax(-1)
            counts += torch.stack([(predicted == labels.to(device)).sum(), torch.tensor(len(labels), device=device)])
    dist.all_reduce(counts)
    model.train()
    correct, total = counts.tolist()
    return correct / total


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    data = TensorDataset(torch.randn(16, 64), torch.arange(16) % 10)
    sampler: DistributedSampler[Any] = DistributedSampler(data, shuffle=True)
    loader = DataLoader(data, batch_size=4, sampler=sampler)
    ddp = DistributedDataParallel(nn.Linear(64, 10).to(device))
    optimizer = torch.optim.AdamW(ddp.parameters())
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for inputs, labels in loader:
            loss = nn.functional.cross_entropy(ddp(inputs.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        mean = loss.detach().clone()
        dist.all_reduce(mean, op=dist.ReduceOp.SUM)
        print(f"epoch {epoch}: loss {mean.item() / dist.get_world_size():.3f}, accuracy {evaluate(ddp.module, loader, device):.2f}")
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
