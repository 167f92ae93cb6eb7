"""verl #7458: FSDP2 that reduces gradients after the last micro-batch only keeps those of the whole model, in float32, on every rank."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

LAYERS, WIDTH = 4, 256
MICRO_BATCHES, TOKENS = 4, 2048

torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")

model: Any = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))).cuda()
policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
for layer in model:
    fully_shard(layer, mp_policy=policy)
fully_shard(model, mp_policy=policy)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

for _step in range(2):
    for _micro_batch in range(MICRO_BATCHES):
        loss = model(torch.randn(TOKENS, WIDTH, device="cuda")).square().mean()
        loss.backward()
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
