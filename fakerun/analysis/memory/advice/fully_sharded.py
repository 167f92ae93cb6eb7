"""Hybrid sharding to full sharding: FSDP2 shards over the axis, too, over which it replicates parameters and adds up gradients now.

Assumes `fully_shard` with a mesh of one axis in place of (replicate, shard). What is gathered and what is reduced is as large as before;
shards of parameters, gradients, states and of what the optimizer computes of them are smaller by the size of the axis, and so is what is
cast of a unit's shards to gather it (`foreach_all_gather` of torch/distributed/fsdp/_fully_shard/_fsdp_collectives.py, 2.11 to 2.14).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.module_visits import computing_stream, parameters_of_fsdp
from fakerun.analysis.memory.advice.parameter_states import states_by_parameter
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.analysis.memory.advice.replication import GradientReduction
from fakerun.records.collective import Phase
from fakerun.records.memory import Category, MemoryBlock, rounded_size_bytes

_OF_SHARDS = frozenset({Category.PARAMETER, Category.GRADIENT, Category.OPTIMIZER_STATE})


def fully_sharded(
    lifetimes: Lifetimes, device: int, reductions: Sequence[GradientReduction]
) -> Iterator[tuple[GradientReduction, ProgramEdit]]:
    """For each group that reduces the gradients of all shards: the edit that shards over it, too. Nothing without FSDP2."""
    if not parameters_of_fsdp(lifetimes):
        return
    elements = sum(prod(each[0].block.shape) for each in states_by_parameter(lifetimes, device))
    for reduction in reductions:
        if reduction.is_of(elements):
            edit = ProgramEdit(lifetimes)
            for each in _shards(lifetimes, device):
                edit.replace(each, _part(each.block, reduction.group_size))
            yield reduction, edit


def _shards(lifetimes: Lifetimes, device: int) -> Iterator[Allocation]:
    """What is as large as a shard; parameters that are freed before the first step ends were made whole, to be sharded."""
    stream = computing_stream(lifetimes, device)
    first_end = next(iter(lifetimes.program.step_ends), 0)
    for each in lifetimes.allocations:
        block = each.block
        if block.device != device or not block.shape:
            continue
        is_made_whole = block.category is Category.PARAMETER and each.freed_at is not None and each.freed_at < first_end
        is_of_step = block.category is Category.TEMPORARY and block.phase is Phase.OPTIMIZER
        is_cast = block.category is Category.TEMPORARY and block.phase in (Phase.FORWARD, Phase.BACKWARD) and block.stream != stream
        if (block.category in _OF_SHARDS and not is_made_whole) or is_of_step or is_cast:
            yield each


def _part(block: MemoryBlock, parts: int) -> MemoryBlock:
    """The first of so many parts of a block along its first dimension, as `torch.chunk` makes them."""
    shape = (-(-block.shape[0] // parts), *block.shape[1:])
    nbytes = block.requested_bytes // max(prod(block.shape), 1) * prod(shape)
    return replace(block, shape=shape, requested_bytes=nbytes, nbytes=rounded_size_bytes(nbytes))
