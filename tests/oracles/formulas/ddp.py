"""What train_ddp.py communicates."""

from collections.abc import Iterable, Iterator, Sequence

from tests.oracles.formulas.collective import DTYPE_BYTES, Collective, in_place
from tests.oracles.formulas.model import Job, Parameter, Shape, Size, elements, fsdp_units, parameters, rope_elements

MIB = 2**20

FIRST_BUCKET_BYTES = 1 * MIB
"""The first is small, so that communication starts early in backward (`torch.distributed._DEFAULT_FIRST_BUCKET_BYTES`)."""

BUCKET_BYTES = 25 * MIB
"""DDP's `bucket_cap_mb`, when not given."""

BROADCAST_BYTES = 250 * MIB
"""DDP's `broadcast_bucket_size`: tensors are broadcast joined to pieces of about this size."""


def collectives_of_ddp(job: Job, steps: int) -> list[Collective]:
    """Everything that each rank of train_ddp.py issues, in order, in `steps` steps."""
    return [*setup(job), *(collective for index in range(steps) for collective in step(job, index + 1))]


def setup(job: Job) -> Iterator[Collective]:
    """The constructor of DDP checks that all ranks have the same model, and gives all of them the values of rank 0.

    To check it compares the number of parameters, then their sizes and strides (`verify_params_across_processes`).
    """
    sizes = [parameter.size for parameter in parameters(job.shape)]
    yield Collective(op="all_gather", axis="dp", dtype="int64", input_sizes=((1,),), output_sizes=((1,),) * job.dp)
    yield in_place("broadcast", "dp", "int64", sum(2 * len(size) for size in sizes))
    for piece in fill_buckets([*sizes, (rope_elements(job),)], (BROADCAST_BYTES,)):
        yield in_place("broadcast", "dp", "float32", elements(piece))


def step(job: Job, number: int) -> Iterator[Collective]:
    """One training step, numbered from 1: the buffers from rank 0 before forward, the gradients bucket by bucket during backward.

    The first step has one bucket for all, as `find_unused_parameters` is off, and takes down in what order the gradients come. The second
    step begins with making buckets after that order, of which rank 0 tells the others: in one tensor the parameters' indices and the number
    of buckets, in another how many parameters are in each.
    """
    buckets = ddp_buckets(job.shape) if number > 1 else [[parameter.size for parameter in parameters(job.shape)]]
    if number == 2:
        yield in_place("broadcast", "dp", "int32", len(parameters(job.shape)) + 1)
        yield in_place("broadcast", "dp", "int32", len(buckets))
    yield in_place("broadcast", "dp", "float32", rope_elements(job))
    for bucket in buckets:
        yield in_place("all_reduce", "dp", "float32", elements(bucket))


def ddp_buckets(shape: Shape) -> list[list[Size]]:
    """What is reduced together from the second step on."""
    return fill_buckets(sizes_in_order_of_gradients(shape), (FIRST_BUCKET_BYTES, BUCKET_BYTES))


def fill_buckets(sizes: Iterable[Size], limits: Sequence[int]) -> list[list[Size]]:
    """Put float32 tensors in buckets, in order. A bucket is full when it has *reached* its limit; the last limit is for all further ones.

    This is what reducer.cpp's `compute_bucket_assignment_by_size` does with tensors of one dtype on one device.
    """
    buckets: list[list[Size]] = [[]]
    for size in sizes:
        buckets[-1].append(size)
        limit = limits[min(len(buckets), len(limits)) - 1]
        if elements(buckets[-1]) * DTYPE_BYTES["float32"] >= limit:
            buckets.append([])
    return [bucket for bucket in buckets if bucket]


def sizes_in_order_of_gradients(shape: Shape) -> list[Size]:
    """Sizes of the parameters in the order in which backward completes their gradients: that of their use in forward, reversed.

    Forward uses them in the order of `Module.parameters()`, except that the feed-forward multiplies by w3 before w2.
    """

    def in_order_of_use(block: list[Parameter]) -> list[Parameter]:
        *others, w2, w3 = block
        return [*others, w3, w2]

    (embedding, norm, output), *blocks = fsdp_units(shape)
    used = [embedding, *(parameter for block in blocks for parameter in in_order_of_use(block)), norm, output]
    return [parameter.size for parameter in reversed(used)]
