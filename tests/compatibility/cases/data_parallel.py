"""Data parallelism: the replicas of DDP, the shards of ZeRO and FSDP."""

from tests.compatibility.case import Case

CASES = (Case(program="data_parallel/ddp", world_size=2, operations={"all_gather": 1, "broadcast": 11, "all_reduce": 5}),)
