"""One group with a backend for each device: host tensors travel over gloo, device tensors over NCCL."""

import os

import torch
import torch.distributed as dist


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "cpu:gloo")
    for where in (torch.device("cpu"), device):
        dist.all_reduce(torch.ones(3, device=where))
        dist.broadcast(torch.ones(2, 2, dtype=torch.float64, device=where), src=1)
        dist.all_gather([torch.empty(1, device=where) for _ in range(dist.get_world_size())], torch.ones(1, device=where))

    # A second group over all ranks for what happens on the host, as checkpointing has it.
    host = dist.new_group(backend="gloo")
    counts = torch.tensor([dist.get_rank(), 7])
    dist.all_reduce(counts, op=dist.ReduceOp.MAX, group=host)
    names = [None] * dist.get_world_size()
    dist.all_gather_object(names, "a shard's name", group=host)
    assert dist.get_backend(host) == "gloo"
    dist.destroy_process_group(host)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
