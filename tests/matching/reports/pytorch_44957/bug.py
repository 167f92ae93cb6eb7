"""pytorch #44957: a model with two parts skips the second one for the first frame of a video. One rank is at its first frame, the others
are further on: they call a SyncBatchNorm that this rank does not, and wait for its statistics.
"""

import torch
import torch.distributed as dist
from torch import nn

dist.init_process_group("nccl")
rank = dist.get_rank()
torch.cuda.set_device(rank)


class Tracker(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.detect = nn.Linear(8, 16)
        self.refine = nn.SyncBatchNorm(16)

    def forward(self, image: torch.Tensor, frame: int) -> torch.Tensor:
        found: torch.Tensor = self.detect(image)
        if frame == 0:
            return found
        return torch.as_tensor(self.refine(found))  # PEER


model = Tracker().cuda()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

FRAMES = [3, 0, 1, 2]  # of its video, at which each rank is

loss = model(torch.randn(4, 8, device="cuda"), FRAMES[rank]).square().mean()
loss.backward()
scale = torch.ones((), device="cuda")
dist.all_reduce(scale)  # BUG
optimizer.step()

dist.destroy_process_group()
