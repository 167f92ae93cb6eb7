"""torch.compile around DDP and in place under it; the state has the names of the wrappers."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)).to(device)
    model[0].compile(backend="eager")
    ddp = DistributedDataParallel(model)
    compiled: Any = torch.compile(ddp, backend="eager", dynamic=False)
    assert next(iter(compiled.state_dict())) == "_orig_mod.module.0.weight"
    optimizer = torch.optim.AdamW(compiled.parameters())
    for _ in range(2):
        torch.compiler.cudagraph_mark_step_begin()
        compiled(torch.randn(8, 64, device=device)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
