"""FlexAttention with a block mask and a learned bias under FSDP2; the bias, shared by all ranks, is reduced by hand."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

HEADS, LENGTH, WIDTH = 4, 256, 64


def causal(batch: Any, head: Any, query: Any, key: Any) -> Any:
    return query >= key


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))  # it chooses the rank's GPU
    attention = torch.compile(flex_attention)
    projection = nn.Linear(WIDTH, 3 * WIDTH).to(device)
    fully_shard(projection, mesh=mesh)
    bias = nn.Parameter(torch.zeros(HEADS, device=device))
    mask = create_block_mask(causal, None, None, LENGTH, LENGTH, device=device.type)
    optimizer = torch.optim.AdamW(projection.parameters())
    bias_optimizer = torch.optim.AdamW([bias])
    for _ in range(2):
        heads = projection(torch.randn(2, LENGTH, WIDTH, device=device)).view(2, LENGTH, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        query, key, value = (part.contiguous() for part in heads)
        output = attention(query, key, value, score_mod=lambda score, b, h, q, kv: score + bias[h], block_mask=mask)
        output.square().mean().backward()
        dist.all_reduce(bias.grad, op=dist.ReduceOp.SUM)
        bias_optimizer.step()
        optimizer.step()
        optimizer.zero_grad()
        bias_optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
