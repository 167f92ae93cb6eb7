"""transformers #46113: gradients are gathered whole for their norm, all of them at once: on every rank, the memory of the whole model."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

WIDTH, LAYERS, BATCH, MAX_NORM = 32768, 28, 16, 1.0

torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")

with torch.device("meta"):
    model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False, dtype=torch.bfloat16) for _ in range(LAYERS)))
for layer in model:
    fully_shard(layer)
fully_shard(model)
model.to_empty(device="cuda")
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
parameters: list[Any] = list(model.parameters())


def gradient_norm() -> torch.Tensor:
    norms = [torch.linalg.vector_norm(parameter.grad).full_tensor() for parameter in parameters]
    return torch.stack(norms).norm()


for _step in range(2):
    model(torch.randn(BATCH, WIDTH, device="cuda", dtype=torch.bfloat16)).square().mean().backward()
    scale = (MAX_NORM / (gradient_norm() + 1e-6)).clamp(max=1.0)
    for parameter in parameters:
        parameter.grad.to_local().mul_(scale)
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
