"""A whole step of DDP captured in a CUDA graph after a warm-up on a side stream, and replayed."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    dist.init_process_group()
    graph = torch.cuda.CUDAGraph()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        ddp = DistributedDataParallel(nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64)).to(device))
    optimizer = torch.optim.AdamW(ddp.parameters(), capturable=True)
    batch = torch.empty(8, 64, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        ddp(batch).square().mean().backward()
        optimizer.step()

    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(11):  # DDP must have rebuilt its buckets
            step()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph, pool=torch.cuda.graph_pool_handle()):
        step()
    for _ in range(3):
        batch.copy_(torch.randn(8, 64))
        graph.replay()
    torch.cuda.synchronize()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
