"""all_gather_into_tensor and reduce_scatter_tensor with a dimension for the ranks: a layout that NCCL takes and gloo does not."""

import os

import torch
import torch.distributed as dist


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    size = dist.get_world_size()
    mine = torch.ones(2, 3, device=device)
    stacked = torch.empty(size, 2, 3, device=device)
    dist.all_gather_into_tensor(stacked, mine)
    dist.reduce_scatter_tensor(mine, stacked)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
