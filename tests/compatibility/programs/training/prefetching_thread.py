"""A thread of the script's own copies batches to the device on a stream of its own, ahead of DDP's steps."""

import os
import queue
import threading
from contextlib import nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def prefetch(loader: DataLoader[Any], device: torch.device, ready: queue.Queue[Any]) -> None:
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    with torch.cuda.stream(stream) if stream else nullcontext():
        for batch in loader:
            on_device = [tensor.to(device, non_blocking=True) for tensor in batch]
            ready.put((on_device, stream.record_event() if stream else None))
    ready.put(None)


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    data = TensorDataset(torch.randn(32, 64), torch.arange(32) % 10)
    loader = DataLoader(data, batch_size=4, sampler=DistributedSampler(data), pin_memory=device.type == "cuda")
    ddp = DistributedDataParallel(nn.Linear(64, 10).to(device))
    optimizer = torch.optim.AdamW(ddp.parameters())
    ready: queue.Queue[Any] = queue.Queue(maxsize=2)
    threading.Thread(target=prefetch, args=(loader, device, ready), daemon=True).start()
    while (item := ready.get()) is not None:
        (inputs, labels), copied = item
        if copied is not None:
            torch.cuda.current_stream(device).wait_event(copied)
            inputs.record_stream(torch.cuda.current_stream(device))
        nn.functional.cross_entropy(ddp(inputs), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
