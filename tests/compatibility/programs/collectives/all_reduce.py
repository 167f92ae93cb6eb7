"""all_reduce with every reduction, in place on all ranks, on several dtypes."""

import os

import torch
import torch.distributed as dist

REDUCTIONS = (dist.ReduceOp.SUM, dist.ReduceOp.PRODUCT, dist.ReduceOp.MIN, dist.ReduceOp.MAX)


def main() -> None:
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    dist.init_process_group()
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        for size, reduction in enumerate(REDUCTIONS, start=1):
            dist.all_reduce(torch.ones(size, 3, dtype=dtype, device=device), op=reduction)
    flags = torch.ones(5, dtype=torch.int32)
    host = dist.new_group(backend="gloo")  # NCCL has no bitwise reductions
    for reduction in (dist.ReduceOp.BAND, dist.ReduceOp.BOR):
        dist.all_reduce(flags, op=reduction, group=host)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
