"""Ranks save, rotate, move, list and load checkpoints, and print what they see. Also runs under torchrun, on CPUs.

The argument is a directory, which may hold checkpoints from before.
"""

import glob
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import checkpoint

dcp: Any = checkpoint  # it does not mark all that it exports
directory = Path(sys.argv[1])
rank, last = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]) - 1
on_gpu = torch.cuda.is_available()
device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
print("before the group", (directory / "step-3.pt").exists(), (directory / "sharded").exists(), sorted(os.listdir(directory)))
dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
if on_gpu:
    torch.cuda.set_device(device)
model = nn.Linear(8, 8).to(device)
print("a fresh start", (directory / "step-3.pt").exists(), os.path.exists(directory / "latest"))
dist.barrier()


def say(what: str, *values: object) -> None:
    dist.barrier()
    print(what, *values)
    dist.barrier()


def names() -> list[str]:
    return sorted(os.listdir(directory))


for step in (3, 4, 5):
    if rank == 0:  # keeps the last two
        path = directory / f"step-{step}.pt"
        torch.save({"model": model.state_dict(), "step": step, "rng": torch.arange(3)}, str(path) + ".tmp")
        os.replace(str(path) + ".tmp", path)
        if (directory / "latest").is_symlink():
            (directory / "latest").unlink()
        (directory / "latest").symlink_to(path.name)
        for old in sorted(glob.glob(str(directory / "step-*.pt")))[:-2]:
            os.remove(old)
    dist.barrier()
    loaded = torch.load(directory / "latest", map_location="cpu")
    say(f"step {step}", names(), loaded["step"], loaded["rng"].tolist(), {k: (v.shape, v.dtype) for k, v in loaded["model"].items()})
model.load_state_dict(torch.load(directory / "step-5.pt", map_location=device)["model"])
say("link", os.readlink(directory / "latest"), (directory / "latest").resolve().name, (directory / "latest").is_file())

own = directory / "shards" / f"rank-{rank}.pt"
if rank == last:
    own.parent.mkdir()
dist.barrier()
torch.save({"weight": model.weight, "rank": rank}, own)
dist.barrier()
shards = [torch.load(path, map_location="cpu", weights_only=True)["rank"] for path in sorted((directory / "shards").glob("*.pt"))]
say("shards", shards, [path.name for path in sorted((directory / "shards").iterdir())])
if rank == 0:
    (directory / "shards").rename(directory / "old")
dist.barrier()
say("renamed", names(), (directory / "shards").exists(), sorted(os.listdir(directory / "old")))
if rank == 1:
    shutil.copytree(directory / "old", directory / "copied")
    shutil.rmtree(directory / "old")
dist.barrier()
say("copied", names(), torch.load(directory / "copied" / "rank-0.pt", map_location="cpu")["rank"])

sharded = directory / "sharded"
state: Any = {"model": model.state_dict(), "step": 5, "seen": [1, 2], "rng": torch.arange(4)}
dcp.async_save(state, checkpoint_id=sharded).result()
print("whole", (sharded / ".metadata").exists(), sharded.is_dir())
metadata = dcp.FileSystemReader(sharded).read_metadata()
print("metadata", sorted(metadata.state_dict_metadata))
if rank == 0:
    (sharded / "config.json").write_text("{}")
dist.barrier()
state |= {"step": 0, "seen": [0], "rng": torch.zeros(4, dtype=torch.int64)}
dcp.load(state, checkpoint_id=sharded)
say("loaded", state["step"], state["seen"], state["rng"].tolist(), (sharded / "config.json").read_text())

flag = directory / "flag.pt"
if rank == 0:
    torch.save(model, flag)
while not os.path.exists(flag):
    time.sleep(0.01)
print("flag", flag.exists())
try:
    torch.load(directory / "step-3.pt")
except FileNotFoundError as error:
    print("removed", error.filename)
dist.destroy_process_group()
