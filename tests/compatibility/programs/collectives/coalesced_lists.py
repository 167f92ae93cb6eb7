"""all_reduce_coalesced and all_gather_coalesced: the older calls for many tensors at once, on the host, as NCCL has only the first."""

import torch
import torch.distributed as dist


def main() -> None:
    dist.init_process_group()
    host = dist.new_group(backend="gloo")
    tensors = [torch.ones(shape) for shape in ((3,), (2, 2), (5, 1))]
    dist.all_reduce_coalesced(tensors, group=host)
    gathered = [[torch.empty_like(tensor) for tensor in tensors] for _ in range(dist.get_world_size())]
    dist.all_gather_coalesced(gathered, tensors, group=host)
    assert all(torch.equal(mine, theirs) for row in gathered for mine, theirs in zip(row, tensors, strict=True))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
