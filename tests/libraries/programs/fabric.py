"""Lightning Fabric: DDP, FSDP1, or FSDP2 with tensor parallelism (ModelParallelStrategy)."""

import argparse
import tempfile

import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--strategy", choices=("ddp", "fsdp", "2d"), default="ddp")
parser.add_argument("--precision", default="32-true")
parser.add_argument("--accumulate", type=int, default=1)
parser.add_argument("--save", action="store_true")
args = parser.parse_args()


class Block(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64))


def parallelize(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    for block in model.children():
        parallelize_module(block, mesh["tensor_parallel"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
        fully_shard(block, mesh=mesh["data_parallel"])
    fully_shard(model, mesh=mesh["data_parallel"])
    return model


strategy = {
    "ddp": DDPStrategy(),
    "fsdp": FSDPStrategy(auto_wrap_policy={Block}, activation_checkpointing_policy={Block}, state_dict_type="sharded"),
    "2d": ModelParallelStrategy(parallelize, data_parallel_size=4, tensor_parallel_size=2),
}[args.strategy]
fabric = Fabric(accelerator="cuda", devices=8, strategy=strategy, precision=args.precision)
fabric.launch()
fabric.seed_everything(1)
with fabric.init_module(empty_init=args.strategy != "ddp"):
    model = nn.Sequential(*(Block() for _ in range(4)))
model = fabric.setup(model)
optimizer = fabric.setup_optimizers(torch.optim.AdamW(model.parameters(), lr=1e-3))
loader = fabric.setup_dataloaders(DataLoader(TensorDataset(torch.randn(512, 64)), batch_size=8))
for index, (batch,) in enumerate(loader):
    with fabric.no_backward_sync(model, enabled=(index + 1) % args.accumulate != 0):
        loss = model(batch).square().mean()
        fabric.backward(loss)
    if (index + 1) % args.accumulate == 0:
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
    print(f"{index}: {fabric.all_reduce(loss.detach()).item()}")
if args.save:
    fabric.save(tempfile.mkdtemp(), {"model": model, "optimizer": optimizer})
