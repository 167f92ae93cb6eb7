"""Halves the batch until it fits."""

import torch

batch = 2**20
model = torch.nn.Linear(16384, 16384, device="cuda")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
while batch:
    try:
        model(torch.randn(batch, 16384, device="cuda")).sum().backward()
        optimizer.step()
        print("batch", batch)
        break
    except torch.OutOfMemoryError:
        print("out of memory at", batch)
        torch.cuda.empty_cache()
        batch //= 2
