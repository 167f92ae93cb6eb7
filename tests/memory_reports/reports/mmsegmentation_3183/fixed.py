"""mmsegmentation #3183: each rank loads pretrained weights where the file has them, on cuda:0, which fills up while the others do not."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

WIDTH, LAYERS, BATCH = 4096, 6, 8

device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
torch.cuda.set_device(device)
dist.init_process_group("nccl")
file = Path(tempfile.gettempdir()) / "pretrained.pt"


def backbone() -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))).cuda()


if dist.get_rank() == 0:
    torch.save(backbone().state_dict(), file)
dist.barrier()
layers = backbone()
weights = torch.load(file, map_location="cpu")
layers.load_state_dict(weights)
del weights
model = nn.parallel.DistributedDataParallel(layers, device_ids=[device])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _step in range(2):
    model(torch.randn(BATCH, WIDTH, device="cuda")).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
dist.destroy_process_group()
