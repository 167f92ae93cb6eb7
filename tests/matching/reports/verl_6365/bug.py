"""verl #6365: after a model is loaded on rank 0, its buffers are broadcast in the order in which each rank has them. Two kinds of
attention have rotary embeddings of different sizes, and on one rank they come the other way round.
"""

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
for _, buffer in rotary.named_buffers():
    dist.broadcast(buffer, src=0)  # BUG

head = nn.Linear(64, 4, device="cuda")
optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
head(rotary.get_buffer("sliding_inv_freq")).square().mean().backward()
optimizer.step()

dist.destroy_process_group()
