"""Train a small mixture of experts: each rank has experts of its own, the rest is under DDP. Each option follows a piece of advice.

The routing is even: each rank sends as many tokens to each other one.
"""

import argparse
import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_to_all_single_autograd
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

WIDTH, LAYERS, VOCAB = 1024, 4, 32_000


class Experts(nn.Module):
    """One expert of each rank: tokens go to the ranks and come back."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.group = group
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        splits = [len(x) // self.group.size()] * self.group.size()
        arrived = all_to_all_single_autograd(x, splits, splits, self.group)
        return all_to_all_single_autograd(self.down(functional.gelu(self.up(arrived))), splits, splits, self.group)


class Block(nn.Module):
    def __init__(self, group: dist.ProcessGroup) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.router = nn.Linear(WIDTH, group.size())
        self.experts = Experts(group)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.view(1, len(x), -1, 64).transpose(1, 2) for part in self.qkv(self.norm1(x)).chunk(3, -1))
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2).squeeze(0))
        normed = self.norm2(x)
        weights = self.router(normed).softmax(-1)[:, :1]
        return x + weights * self.experts(normed)


class Model(nn.Module):
    def __init__(self, group: dist.ProcessGroup, checkpointing: bool) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        self.blocks = nn.ModuleList(Block(group) for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, VOCAB)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointing else block(x)
        return self.head(x)


def optimizers_of(model: Model, zero: bool) -> list[torch.optim.Optimizer]:
    if not zero:
        return [torch.optim.AdamW(model.parameters())]
    experts = [parameter for name, parameter in model.named_parameters() if ".experts." in name]
    shared = [parameter for name, parameter in model.named_parameters() if ".experts." not in name]
    return [ZeroRedundancyOptimizer(shared, optimizer_class=torch.optim.AdamW), torch.optim.AdamW(experts)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--zero", action="store_true")
    args = parser.parse_args()

    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    mesh = init_device_mesh("cuda", (int(os.environ["WORLD_SIZE"]),), mesh_dim_names=("ep",))
    model = Model(mesh.get_group(), args.checkpointing).to(device)
    own = [name for name, _ in model.named_parameters() if ".experts." in name]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, own)
    parallel = DistributedDataParallel(model)
    optimizers = optimizers_of(model, args.zero)
    for _ in range(4):
        tokens = torch.randint(VOCAB, (args.tokens + 1,), device=device)
        loss = functional.cross_entropy(parallel(tokens[:-1]), tokens[1:])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        for optimizer in optimizers:
            optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
