"""An operator of the script's own, with a fake implementation and a formula for autograd, in a model under DDP."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@torch.library.custom_op("example::scaled_square", mutates_args=())
def scaled_square(x: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.from_numpy(x.detach().cpu().numpy() ** 2 * scale).to(x)


@scaled_square.register_fake
def _(x: torch.Tensor, scale: float) -> torch.Tensor:
    return torch.empty_like(x)


def remember(ctx: Any, inputs: tuple[torch.Tensor, float], output: torch.Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.scale = inputs[1]


def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
    (x,) = ctx.saved_tensors
    return 2 * ctx.scale * x * gradient, None


scaled_square.register_autograd(backward, setup_context=remember)


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    ddp = DistributedDataParallel(nn.Linear(64, 64).to(device))
    optimizer = torch.optim.AdamW(ddp.parameters())
    for _ in range(2):
        scaled_square(ddp(torch.randn(8, 64, device=device)), 0.5).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
