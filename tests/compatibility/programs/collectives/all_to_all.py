"""all_to_all on lists of tensors, and all_to_all_single with even and with uneven splits."""

import os

import torch
import torch.distributed as dist


def lists(size: int, device: torch.device) -> None:
    """Rank i receives what each rank put into its i-th tensor."""
    sent = [torch.full((3, 2), float(peer), device=device) for peer in range(size)]
    received = [torch.empty(3, 2, device=device) for _ in range(size)]
    dist.all_to_all(received, sent)


def single(rank: int, size: int, device: torch.device) -> None:
    """Rank r sends i + 1 rows to rank i, so receives r + 1 rows from everybody."""
    even = torch.arange(2.0 * size, device=device)
    dist.all_to_all_single(torch.empty_like(even), even)
    input_splits = [peer + 1 for peer in range(size)]
    rows = torch.ones(sum(input_splits), 4, device=device)
    received = torch.empty(size * (rank + 1), 4, device=device)
    dist.all_to_all_single(received, rows, output_split_sizes=[rank + 1] * size, input_split_sizes=input_splits)


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    lists(dist.get_world_size(), device)
    single(dist.get_rank(), dist.get_world_size(), device)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
