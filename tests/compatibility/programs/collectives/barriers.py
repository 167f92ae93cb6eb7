"""barrier, in the world and in groups, and monitored_barrier, which tells who is missing."""

import os
from datetime import timedelta

import torch
import torch.distributed as dist


def main() -> None:
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group(timeout=timedelta(minutes=5))
    dist.barrier()
    if on_cuda:
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()
    pair, _ = dist.new_subgroups(group_size=2)
    dist.barrier(group=pair)
    host = dist.new_group(backend="gloo")
    dist.barrier(group=host)
    dist.monitored_barrier(group=host, timeout=timedelta(seconds=30))
    if dist.get_rank() == 0:
        print("the first rank does what the others wait for")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
