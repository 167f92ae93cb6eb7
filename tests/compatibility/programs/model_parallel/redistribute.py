"""DTensor: from whole to shards, even and uneven, and back, from partial sums to either, over one axis and over two."""

import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (2, int(os.environ["WORLD_SIZE"]) // 2), mesh_dim_names=("dp", "tp"))
    tp = mesh["tp"]
    for rows in (8, 5, 1):
        whole = torch.arange(rows * 6, device=device).view(rows, 6)
        for dim in (0, 1):
            sharded = distribute_tensor(whole, tp, [Shard(dim)])
            assert sharded.full_tensor().tolist() == whole.tolist()
            again = sharded.redistribute(placements=[Replicate()]).redistribute(placements=[Shard(dim)])
            assert again.to_local().tolist() == sharded.to_local().tolist()

    summand = torch.arange(30, device=device).view(5, 6)
    for reduction in ("sum", "max", "min"):
        DTensor.from_local(summand, tp, [Partial(reduction)]).redistribute(placements=[Replicate()])
        for dim in (0, 1):
            DTensor.from_local(summand, tp, [Partial(reduction)]).redistribute(placements=[Shard(dim)])
    DTensor.from_local(summand, tp, [Replicate()], run_check=True)

    matrix = torch.arange(25, device=device).view(5, 5)
    factor = distribute_tensor(torch.ones(5, 5, device=device), mesh, [Shard(0), Shard(1)])
    for placements in ([Shard(0), Shard(1)], [Shard(0), Shard(0)], [Replicate(), Shard(1)], [Shard(0), Replicate()]):
        sharded = distribute_tensor(matrix, mesh, placements)
        assert sharded.full_tensor().tolist() == matrix.tolist()
        product = sharded.float() @ factor
        assert isinstance(product, DTensor)
        product.full_tensor()
        DTensor.from_local(summand, mesh, [Partial(), Partial()]).redistribute(placements=placements)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
