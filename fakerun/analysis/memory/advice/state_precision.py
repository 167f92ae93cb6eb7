"""bf16 states: the averages of Adam and AdamW in bfloat16, where they are float32.

Assumes the fused step, whose kernel takes float32 parameters with bfloat16 averages from torch 2.13 on (`FusedAdamMathFunctorMP` in
aten/src/ATen/native/cuda/fused_adam_utils.cuh); an optimizer of the user's own is taken to allocate no more beside the states than it does.
"""

from collections.abc import Iterator
from dataclasses import replace

from fakerun.analysis.memory.advice.foreach_steps import adam_steps
from fakerun.analysis.memory.advice.fused_optimizer import fuse, keep_steps
from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.parameter_states import adam_states
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.records.memory import MemoryBlock, rounded_size_bytes

_FROM, _TO = "float32", "bfloat16"


def with_bfloat16_states(lifetimes: Lifetimes, device: int) -> Iterator[ProgramEdit]:
    """The edit to the program with the averages in bfloat16 and a fused step; nothing if it has none in float32."""
    averages = [each for states in adam_states(lifetimes, device) for each in states if each.block.dtype == _FROM]
    if averages:
        edit = ProgramEdit(lifetimes)
        for each in averages:
            edit.replace(each, _in_bfloat16(each.block))
        steps = adam_steps(lifetimes, device)
        if steps:
            fuse(edit, steps)
            keep_steps(lifetimes, edit, device)
        yield edit


def _in_bfloat16(block: MemoryBlock) -> MemoryBlock:
    requested_bytes = block.requested_bytes // 2
    return replace(block, dtype=_TO, requested_bytes=requested_bytes, nbytes=rounded_size_bytes(requested_bytes))
