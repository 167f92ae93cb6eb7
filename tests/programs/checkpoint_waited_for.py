"""Rank 0 waits until its asynchronous checkpoint is whole, as OLMo-core does. The argument is the directory."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import checkpoint

dcp: Any = checkpoint  # it does not mark all that it exports
device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
torch.cuda.set_device(device)
dist.init_process_group("cpu:gloo,cuda:nccl")
model = nn.Linear(8, 8).to(device)
dcp.async_save(model.state_dict(), checkpoint_id=sys.argv[1]).result()
deadline = time.monotonic() + 3
while dist.get_rank() == 0 and not (Path(sys.argv[1]) / ".metadata").exists():
    time.sleep(0.2)
    if time.monotonic() > deadline:
        raise TimeoutError("the checkpoint is not whole")
