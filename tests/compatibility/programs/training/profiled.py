"""DDP under torch.profiler, with events, memory statistics and its history recorded, and the mean loss logged by rank 0."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile, record_function, schedule


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.memory._record_memory_history(max_entries=1000)
    ddp = DistributedDataParallel(nn.Linear(64, 64).to(device))
    optimizer = torch.optim.AdamW(ddp.parameters())
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with profile(activities=activities, schedule=schedule(wait=1, warmup=1, active=1), profile_memory=True) as profiler:
        for step in range(3):
            with record_function("step"):
                loss = ddp(torch.randn(8, 64, device=device)).square().mean()
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            dist.reduce(loss.detach(), dst=0)
            if dist.get_rank() == 0:
                allocated = torch.cuda.max_memory_allocated() if on_gpu else 0
                print(f"step {step}: loss {loss.item() / dist.get_world_size():.3f}, {allocated} bytes")
            profiler.step()
    print(profiler.key_averages().table(sort_by="cpu_time_total", row_limit=5))
    if on_gpu:
        print(torch.cuda.memory_summary(abbreviated=True))
        torch.cuda.memory._record_memory_history(enabled=None)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
