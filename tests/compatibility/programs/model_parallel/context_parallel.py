"""Context parallelism: each rank has a part of every sequence; keys and values go round in attention, their gradients back."""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.experimental import context_parallel
from torch.distributed.tensor.experimental._attention import set_rotate_method
from torch.nn.attention import SDPBackend, sdpa_kernel

BATCH, SEQ, HEADS, HEAD_DIM = 2, 64, 2, 16
DIM = HEADS * HEAD_DIM


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        queries, keys, values = self.qkv(tokens).unflatten(-1, (3, HEADS, HEAD_DIM)).movedim(2, 0).transpose(2, 3)
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        projected: torch.Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return projected


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    mesh = init_device_mesh(device.type, (int(os.environ["WORLD_SIZE"]),), mesh_dim_names=("cp",))
    set_rotate_method(sys.argv[1])
    model = Attention().to(device, torch.bfloat16)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(2):
        inputs, targets = torch.randn(2, BATCH, SEQ, DIM, device=device, dtype=torch.bfloat16)
        parts = context_parallel(mesh, buffers=[inputs, targets], buffer_seq_dims=[1, 1], no_restore_buffers={inputs, targets})
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION), parts:
            assert inputs.shape[1] == SEQ // mesh.size()
            nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
