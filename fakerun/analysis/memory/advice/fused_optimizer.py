"""`fused=True` of Adam and AdamW: the lists of temporaries of a `foreach` step, as large as all parameters, are not made.

Assumes the operators of torch/optim/adam.py (2.11 to 2.14): a `foreach` step is known by them, and its temporaries are what they return.
The fused kernel needs none; it keeps the number of steps of each parameter on the device, a float32 number made before the parameter's
averages.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.call_site import CallSite
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram
from fakerun.records.memory import Category, rounded_size_bytes

_ALWAYS = {"lerp_.Scalar", "addcmul_.Scalar", "sqrt.default", "addcdiv_.ScalarList"}
_SOMETIMES = {"mul_.Scalar", "div_.ScalarList", "add_.Scalar", "add_.List", "add.List", "maximum_.List", "neg.default"}
_FOREACH = "aten._foreach_"
_STEP_BYTES = 4


def with_fused_adam(lifetimes: Lifetimes, device: int) -> Iterator[tuple[CallSite | None, DeviceProgram]]:
    """The program with every `foreach` step of Adam or AdamW fused, and the line of the step; nothing if it has none."""
    executions = [
        position
        for position in lifetimes.executions
        if lifetimes.phase_at(position) is Phase.OPTIMIZER and lifetimes.operation_at(position).startswith(_FOREACH)
    ]
    if not _are_adam(lifetimes, executions):
        return
    edit = ProgramEdit(lifetimes)
    line = None
    for position in executions:
        edit.drop(position)
        for result in lifetimes.results_of(position):
            if result.block.category is Category.TEMPORARY and result.block.phase is Phase.OPTIMIZER and result.block.device == device:
                edit.remove(result)
                line = result.block.call_site
    _keep_steps(lifetimes, edit, device)
    yield line, edit.program()


def _are_adam(lifetimes: Lifetimes, executions: list[int]) -> bool:
    names = [lifetimes.operation_at(position).removeprefix(_FOREACH) for position in executions]
    # NAdam has the same operators, and divides twice.
    return _ALWAYS <= set(names) <= _ALWAYS | _SOMETIMES and names.count("addcdiv_.ScalarList") == names.count("sqrt.default")


def _keep_steps(lifetimes: Lifetimes, edit: ProgramEdit, device: int) -> None:
    """Make a number beside the averages of each parameter: tensors of one shape that are made one after the other."""
    states = [
        each
        for each in lifetimes.allocations
        if each.block.category is Category.OPTIMIZER_STATE and each.block.phase is Phase.OPTIMIZER and each.block.device == device
    ]
    for _, alike in groupby(states, key=_kind):
        for first in list(alike)[::2]:
            number = replace(first.block, nbytes=rounded_size_bytes(_STEP_BYTES), requested_bytes=_STEP_BYTES, shape=(), dtype="float32")
            edit.allocate(first.allocated_at, number)


def _kind(allocation: Allocation) -> tuple[tuple[int, ...], str]:
    return allocation.block.shape, allocation.block.dtype
