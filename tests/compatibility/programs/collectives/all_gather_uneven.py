"""all_gather of tensors whose sizes differ between ranks, which NCCL can do."""

import os

import torch
import torch.distributed as dist


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    rank, size = dist.get_rank(), dist.get_world_size()
    gathered = [torch.empty(peer + 1, device=device) for peer in range(size)]
    dist.all_gather(gathered, torch.full((rank + 1,), float(rank), device=device))
    print(torch.cat(gathered).shape)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
