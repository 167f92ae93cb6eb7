"""new_group, new_subgroups and their enumeration: each rank communicates in the groups that it is in, and is refused in others."""

import os

import torch
import torch.distributed as dist


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    rank, size = dist.get_rank(), dist.get_world_size()
    ones = torch.ones(4, device=device)

    ends = dist.new_group([0, size - 1])
    if dist.get_rank(ends) >= 0:
        dist.all_reduce(ones, group=ends)
    else:
        assert ends == dist.GroupMember.NON_GROUP_MEMBER
        dist.all_reduce(ones, group=ends)  # warns and does nothing

    halves, _ = dist.new_subgroups(group_size=size // 2)
    dist.all_reduce(ones, group=halves)
    pairs, _ = dist.new_subgroups_by_enumeration([[i, i + size // 2] for i in range(size // 2)])
    dist.broadcast(ones, src=rank % (size // 2), group=pairs)
    assert dist.get_process_group_ranks(pairs) == [rank % (size // 2), rank % (size // 2) + size // 2]
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
