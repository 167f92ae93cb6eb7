"""accelerate #4172: the parts of each layer are checkpointed one by one, which keeps what passes between them: four tensors a layer."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

LAYERS, WIDTH, HEADS, HIDDEN, TOKENS = 28, 1024, 8, 3072, 131072


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).view(1, TOKENS, 3 * HEADS, -1).transpose(1, 2).chunk(3, dim=1)
        heads = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        return self.out(heads.reshape(x.shape))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention, self.mlp_norm = nn.RMSNorm(WIDTH), Attention(), nn.RMSNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, HIDDEN, bias=False), nn.SiLU(), nn.Linear(HIDDEN, WIDTH, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(self.mlp_norm(x))


torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")
model = nn.Sequential(*(Layer() for _ in range(LAYERS))).cuda()
for name, layer in list(model.named_children()):
    setattr(model, name, checkpoint_wrapper(layer))
    fully_shard(layer, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
fully_shard(model)
optimizer = torch.optim.AdamW(model.parameters())
for _step in range(2):
    model(torch.randn(1, TOKENS, WIDTH, device="cuda", dtype=torch.bfloat16)).mean().backward()
    optimizer.step()
    optimizer.zero_grad()
dist.destroy_process_group()
