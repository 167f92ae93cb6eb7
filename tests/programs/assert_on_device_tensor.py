"""A sanity check of values on the device, as in DETR's `generalized_box_iou`: it holds on real data."""

import os

import torch
import torch.distributed as dist
from torch import nn

device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
torch.cuda.set_device(device)
dist.init_process_group("nccl")
model = nn.parallel.DistributedDataParallel(nn.Linear(8, 4).to(device))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for _ in range(2):
    boxes = model(torch.randn(2, 8, device=device)).sigmoid()
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], -1)
    assert (corners[:, 2:] >= corners[:, :2]).all()
    corners.sum().backward()
    optimizer.step()
