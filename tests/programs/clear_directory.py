"""Rank 0 makes files, another program makes one beside them, and rank 1 removes all that it sees."""

import os
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist

directory = Path(sys.argv[1])
rank = int(os.environ["RANK"])
dist.init_process_group("nccl")
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
if rank == 0:
    (directory / "log").mkdir()
    (directory / "log" / "state.json").write_text("{}")
    (directory / "state.json").write_text("{}")
    subprocess.run(["touch", "of-another-program"], cwd=directory, check=True)
dist.barrier()
if rank == 1:
    for path in sorted(directory.rglob("*"), reverse=True):
        (path.rmdir if path.is_dir() else path.unlink)()
    print(sorted(directory.iterdir()))
dist.barrier()
