"""torch.distributed.nn: collectives whose backward is a collective again, as in contrastive learning over all ranks."""

import os

import torch
import torch.distributed as dist
from torch.distributed import nn as distributed_nn
from torch.nn import functional as F  # noqa: N812


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    size = dist.get_world_size()
    images, texts = (torch.randn(4, 16, device=device, requires_grad=True) for _ in range(2))

    all_images = torch.cat(distributed_nn.all_gather(images))
    all_texts = torch.cat(distributed_nn.all_gather(texts))
    scores = all_images @ all_texts.T
    loss = F.cross_entropy(scores, torch.arange(4 * size, device=device))
    distributed_nn.all_reduce(loss).backward()

    features = torch.randn(size, 3, device=device, requires_grad=True)
    mine = distributed_nn.reduce_scatter(torch.empty(3, device=device), list(features.unbind()))
    parts = distributed_nn.all_to_all([torch.empty(3, device=device) for _ in range(size)], [mine.clone() for _ in range(size)])
    distributed_nn.broadcast(torch.stack(list(parts)).sum(0), src=0).sum().backward()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
