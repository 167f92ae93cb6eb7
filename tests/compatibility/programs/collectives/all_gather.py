"""all_gather into a list of tensors, and all_gather_into_tensor, where they lie one after the other in one tensor."""

import os

import torch
import torch.distributed as dist


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    rank, size = dist.get_rank(), dist.get_world_size()
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool):
        mine = torch.ones(2, 3, device=device).to(dtype)
        dist.all_gather([torch.empty_like(mine) for _ in range(size)], mine)
        dist.all_gather_into_tensor(torch.empty(size * 2, 3, dtype=dtype, device=device), mine)
    losses = torch.empty(size, device=device)
    dist.all_gather_into_tensor(losses, torch.full((1,), float(rank), device=device))
    parts = list(torch.empty(size, 7, device=device).unbind())  # views of one tensor
    dist.all_gather(parts, torch.ones(7, device=device))
    dist.all_gather([torch.empty(0, device=device) for _ in range(size)], torch.empty(0, device=device))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
