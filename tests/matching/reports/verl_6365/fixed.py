"""The buffers are broadcast in the order of their names."""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)


SIZES = {"sliding": 128, "full": 256}


class RotaryEmbedding(nn.Module):
    """The frequencies of each kind of attention, made when a layer first asks for them."""

    def __init__(self, kinds_of_layers: list[str]) -> None:
        super().__init__()
        for kind in dict.fromkeys(kinds_of_layers):
            self.register_buffer(f"{kind}_inv_freq", torch.zeros(SIZES[kind] // 2, device="cuda"))


layers = ["sliding", "sliding", "full"]
rotary = RotaryEmbedding(layers if rank != 2 else layers[::-1])
for _, buffer in sorted(rotary.named_buffers()):
    dist.broadcast(buffer, src=0)

head = nn.Linear(64, 4, device="cuda")
optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
head(rotary.get_buffer("sliding_inv_freq")).square().mean().backward()
optimizer.step()

dist.destroy_process_group()
