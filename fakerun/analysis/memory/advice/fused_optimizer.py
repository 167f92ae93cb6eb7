"""`fused=True` of Adam and AdamW: the lists of temporaries of a `foreach` step, as large as all parameters, are not made.

The fused kernel needs none; it keeps the number of steps of each parameter on the device, a float32 number made before the parameter's
averages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fakerun.analysis.memory.advice.foreach_steps import ForeachStep, adam_steps
from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.parameter_states import adam_states
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.call_site import CallSite
from fakerun.records.memory import rounded_size_bytes

_STEP_BYTES = 4


def with_fused_adam(lifetimes: Lifetimes, device: int) -> Iterator[tuple[CallSite | None, ProgramEdit]]:
    """The edit to the program with every `foreach` step of Adam or AdamW fused, and the line of the step; nothing if it has none."""
    steps = adam_steps(lifetimes, device)
    if steps:
        edit = ProgramEdit(lifetimes)
        fuse(edit, steps)
        keep_steps(lifetimes, edit, device)
        yield steps[-1].call_site, edit


def fuse(edit: ProgramEdit, steps: Sequence[ForeachStep]) -> None:
    """Leave out what the steps execute, and what they make for it."""
    for step in steps:
        for position, made in zip(step.executions, step.results, strict=True):
            edit.drop(position)
            for each in made:
                edit.remove(each)


def keep_steps(lifetimes: Lifetimes, edit: ProgramEdit, device: int) -> None:
    """Make a number beside the averages of each parameter."""
    for averages in adam_states(lifetimes, device):
        first = averages[0]
        number = replace(first.block, nbytes=rounded_size_bytes(_STEP_BYTES), requested_bytes=_STEP_BYTES, shape=(), dtype="float32")
        edit.allocate(first.allocated_at, number)
