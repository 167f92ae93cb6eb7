"""What may have changed in the program, where the records say so: each cause has the evidence that it needs in its function.

A cause is said with a question mark: other changes may leave the same records.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fakerun.analysis.baseline.baseline import Call, ClassBaseline, DeviceProfile, ModuleMemory
from fakerun.analysis.baseline.call_changes import CallChange, ChangeKind, calls_of_step
from fakerun.records.collective import CollectiveOp, Phase
from fakerun.records.memory import Category

RESHARD = "reshard_after_forward changed"
_OWN_DEVICE = "cuda:LOCAL_RANK"
_GATHERS = frozenset({CollectiveOp.ALL_GATHER, CollectiveOp.ALL_GATHER_INTO_TENSOR})
_SCATTERS = frozenset({CollectiveOp.REDUCE_SCATTER, CollectiveOp.REDUCE_SCATTER_TENSOR})
_MUCH_LESS = 0.5
"""Of what was recomputed."""


@dataclass(frozen=True, slots=True)
class ClassPair:
    """A class of the old baseline and the one of the new that it is compared with."""

    old: ClassBaseline
    new: ClassBaseline


def cause_of_calls(pair: ClassPair, change: CallChange) -> str | None:
    """Calls in backward that are new or gone: recomputation, or parameters that are gathered a second time."""
    if change.kind not in (ChangeKind.ADDED, ChangeKind.REMOVED) or change.call.phase is not Phase.BACKWARD:
        return None
    recomputation = _checkpointing(_recomputed(pair.old, change.call.module), _recomputed(pair.new, change.call.module))
    if recomputation is not None and _is_issued(pair.old, change.call, Phase.FORWARD):
        return recomputation
    return RESHARD if _is_second_gather(pair, change.call) else None


def _is_second_gather(pair: ClassPair, call: Call) -> bool:
    """An all-gather in backward of what is gathered in forward and whose gradient is reduce-scattered, before and after: FSDP's."""
    if call.op not in _GATHERS:
        return False
    return all(
        _is_issued(each, call, Phase.FORWARD)
        and any(
            known.op in _SCATTERS and (known.group, known.module) == (call.group, call.module) and known.phase is not Phase.FORWARD
            for known in calls_of_step(each.schedule)
        )
        for each in (pair.old, pair.new)
    )


def _is_issued(each: ClassBaseline, call: Call, phase: Phase) -> bool:
    """Whether the step issues the same on the same group for the same module in that phase."""
    wanted = (call.op, call.group, call.module, call.nbytes)
    return any(
        known.phase is phase and (known.op, known.group, known.module, known.nbytes) == wanted for known in calls_of_step(each.schedule)
    )


def _recomputed(each: ClassBaseline, module: str | None) -> int | None:
    """What the layer of the module recomputes, on all devices; None where that is not known."""
    if any(device.recomputed is None for device in each.devices.values()):
        return None
    return sum(_recomputed_on(device, module) for device in each.devices.values())


def _recomputed_on(device: DeviceProfile, module: str | None) -> int:
    return sum(nbytes for layer, nbytes in (device.recomputed or {}).items() if module is not None and is_within(module, layer))


def is_within(module: str, layer: str) -> bool:
    """Whether the module is the layer, or a part of it."""
    return module == layer or module.startswith(f"{layer}.")


def _checkpointing(old: int | None, new: int | None) -> str | None:
    """Whether activation checkpointing came or went, by what is recomputed in backward."""
    if old is None or new is None:
        return None
    if old and new <= _MUCH_LESS * old:
        return "activation checkpoint removed"
    return "activation checkpoint added" if new and old <= _MUCH_LESS * new else None


def cause_of_memory(old: DeviceProfile, new: DeviceProfile, shares: Sequence[tuple[str, Category]]) -> str | None:
    """More or fewer activations of modules that recompute less or more."""
    if old.recomputed is None or new.recomputed is None:
        return None
    before, after = sum(old.recomputed.values()), sum(new.recomputed.values())
    changed = [category for _, category in shares]
    return _checkpointing(before, after) if Category.ACTIVATION in changed else None


def cause_of_parameters(old: ModuleMemory, new: ModuleMemory) -> str:
    """As many modules with larger parameters, or more modules."""
    if old.instances != new.instances:
        return f"{new.instances} modules instead of {old.instances}"
    before, after = (each.categories.get(Category.PARAMETER, 0) for each in (old, new))
    return "wider layer" if after > before else "narrower layer"


def cause_of_devices(pair: ClassPair) -> str | None:
    """Ranks that each used the device of their local rank share one now."""
    if _OWN_DEVICE in pair.old.devices and pair.new.devices and _OWN_DEVICE not in pair.new.devices:
        return "set_device missing"
    return None
