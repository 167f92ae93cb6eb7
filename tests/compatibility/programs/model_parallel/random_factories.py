"""DTensor's factories: random numbers, zeros and ones, made where they belong, and one gradient back to each."""

import os

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, full, ones, rand, randn, zeros

ROWS, COLUMNS = 5, 6


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (2, int(os.environ["WORLD_SIZE"]) // 2), mesh_dim_names=("dp", "tp"))
    placements = [Shard(0), Replicate()]
    made = [factory(ROWS, COLUMNS, device_mesh=mesh, placements=placements, requires_grad=True) for factory in (zeros, ones, randn, rand)]
    constant = full((ROWS, COLUMNS), 2.0, device_mesh=mesh, placements=placements)
    rows = ROWS // 2 + (ROWS % 2 if mesh.get_local_rank("dp") == 0 else 0)
    assert constant.to_local().tolist() == rows * [COLUMNS * [2.0]]
    (sum(made) * constant).sum().backward()
    for leaf in made:
        assert isinstance(leaf.grad, DTensor)
        assert leaf.grad.placements == leaf.placements
    optimizer = torch.optim.AdamW(made, lr=1e-3)
    optimizer.step()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
