"""composer #3415: the loaders of two ranks have different lengths (there 100 and 120 batches). The rank with fewer has ended its
loop, the other one hangs in the all_reduce of its next batch.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)
model = DistributedDataParallel(nn.Linear(16, 4).cuda(), device_ids=[rank])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

SAMPLES = [20, 24]  # that the rank's node has prepared
loader = DataLoader(TensorDataset(torch.randn(SAMPLES[rank], 16)), batch_size=4)

for (batch,) in loader:
    samples = torch.tensor(len(batch), device="cuda")
    dist.all_reduce(samples)  # BUG
    loss = model(batch.cuda()).square().sum() / samples
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()

dist.destroy_process_group()
