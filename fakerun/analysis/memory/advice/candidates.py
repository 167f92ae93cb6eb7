"""What would lower the peak of reserved memory most: each change is replayed with the allocator, and those that help are ranked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.advice.checkpointing import checkpointed
from fakerun.analysis.memory.advice.chunked_loss import CHUNKS, chunked
from fakerun.analysis.memory.advice.for_loop_optimizer import with_for_loop
from fakerun.analysis.memory.advice.fused_optimizer import with_fused_adam
from fakerun.analysis.memory.advice.gradients import freed_after_step, set_to_none
from fakerun.analysis.memory.advice.kept_tensors import deleted_at_end_of_step
from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.replication import GradientReduction
from fakerun.analysis.memory.advice.resharding import resharded
from fakerun.analysis.memory.advice.sharded_states import sharded
from fakerun.analysis.memory.advice.state_precision import with_bfloat16_states
from fakerun.analysis.memory.breakdown import module_pattern
from fakerun.analysis.memory.reserved import reserved_memory, runs_out
from fakerun.hardware.accelerator import Accelerator
from fakerun.records.device_program import DeviceProgram
from fakerun.units import join_words

LEAST_SAVED_BYTES = 64 * 1024**2
LEAST_SAVED_SHARE = 0.01
"""What saves less than either is not worth a change."""
MOST_ADVICE = 6

_WORTH_BESIDE_THE_BEST = 1.5
"""How many times the peak of the best checkpointing another may have: it computes less again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One change, and the peak of what the device's allocator would reserve with it: `peak_reserved_bytes`, less by `saved_bytes`.

    `runs_out` is whether the allocator would still fail on the device, having given back all that it caches. `is_several` if it is several
    of the others.
    """

    what: str
    how: str
    saved_bytes: int
    peak_reserved_bytes: int
    runs_out: bool = False
    is_several: bool = False


@dataclass(frozen=True, slots=True)
class _Candidate:
    what: str
    how: str
    program: DeviceProgram
    settings: AllocatorSettings
    is_checkpointing: bool = False
    is_several: bool = False


def advice_for(
    program: DeviceProgram,
    settings: AllocatorSettings,
    hardware: Accelerator,
    *,
    device: int,
    peak_bytes: int,
    variables: Mapping[str, str] | None = None,
    capacity_bytes: int | None = None,
    reductions: Sequence[GradientReduction] = (),
) -> tuple[Advice, ...]:
    """What lowers the peak on the device with this ordinal, most first; empty if nothing does by enough. Takes about eight replays.

    If none is enough by itself, the last is several of them together, by their numbers from 1.

    `peak_bytes` is what is reserved there at the peak now; `variables` are those of the rank's environment; `capacity_bytes` is what the
    device has for the allocator, all that is usable if None; `reductions` are those of the rank's gradients.
    """
    capacity = hardware.usable_bytes if capacity_bytes is None else capacity_bytes
    least = max(LEAST_SAVED_BYTES, LEAST_SAVED_SHARE * peak_bytes)

    def peak_with(candidate: _Candidate) -> int:
        memory = reserved_memory(candidate.program, candidate.settings, hardware, variables=variables).get(device)
        return 0 if memory is None else memory.peak_bytes

    def advice(candidate: _Candidate, peak: int) -> Advice:
        fails = peak > capacity and runs_out(candidate.program, candidate.settings, hardware, capacity, variables or {})
        return Advice(
            what=candidate.what,
            how=candidate.how,
            saved_bytes=peak_bytes - peak,
            peak_reserved_bytes=peak,
            runs_out=fails,
            is_several=candidate.is_several,
        )

    peaks = [(candidate, peak_with(candidate)) for candidate in _candidates(program, settings, device, reductions)]
    helpful = _selected([(candidate, peak) for candidate, peak in peaks if peak_bytes - peak >= least])
    ranked = sorted(helpful, key=lambda each: (each[1], each[0].what))[:MOST_ADVICE]
    together = _together(ranked, device, reductions, capacity, least, peak_with)
    return tuple(advice(candidate, peak) for candidate, peak in (*ranked, *together))


def _together(
    ranked: Sequence[tuple[_Candidate, int]],
    device: int,
    reductions: Sequence[GradientReduction],
    capacity: int,
    least: float,
    peak_with: Callable[[_Candidate], int],
) -> Iterator[tuple[_Candidate, int]]:
    """If none is enough by itself: the best with as many others, in order, as it takes, each made to the program as changed."""
    if not ranked:
        return
    changed, peak = ranked[0]
    numbers = [1]
    for number, (candidate, _) in enumerate(ranked[1:], 2):
        if peak <= capacity:
            break
        further = next(
            (each for each in _candidates(changed.program, changed.settings, device, reductions) if each.what == candidate.what), None
        )
        lower = peak if further is None else peak_with(further)
        if further is not None and peak - lower >= least:
            changed, peak = further, lower
            numbers.append(number)
    if len(numbers) > 1:
        yield replace(changed, what=f"{join_words([*map(str, numbers)])} together", how="make all of these changes", is_several=True), peak


def _selected(helpful: Sequence[tuple[_Candidate, int]]) -> list[tuple[_Candidate, int]]:
    """All, but of checkpointing only the best and what needs little more."""
    peaks = [peak for candidate, peak in helpful if candidate.is_checkpointing]
    return [each for each in helpful if not each[0].is_checkpointing or each[1] <= _WORTH_BESIDE_THE_BEST * min(peaks)]


def _candidates(
    program: DeviceProgram, settings: AllocatorSettings, device: int, reductions: Sequence[GradientReduction]
) -> Iterator[_Candidate]:
    lifetimes = Lifetimes(program)
    if not settings.expandable_segments:
        expandable = replace(settings, expandable_segments=True)
        yield _Candidate("expandable segments", f"set PYTORCH_ALLOC_CONF={expandable.text}", program, expandable)
    for what, how, changed in _changes(lifetimes, device):
        yield _Candidate(what, how, changed, settings)
    for each in sharded(lifetimes, device, reductions):
        group = "all ranks" if each.group == "world" else each.group
        how = (
            f"wrap the optimizer in torch.distributed.optim.ZeroRedundancyOptimizer, with the group of {group}: each of its "
            f"{each.group_size} ranks keeps the states of its share of the parameters, most of all number {each.position}, as computed here"
        )
        yield _Candidate(f"optimizer states sharded over {group}", how, each.program, settings)
    for pattern, changed in checkpointed(lifetimes, device):
        how = f"call {pattern} through torch.utils.checkpoint.checkpoint with use_reentrant=False; backward runs its forward again"
        yield _Candidate(f"activation checkpointing of {pattern}", how, changed, settings, is_checkpointing=True)


def _changes(lifetimes: Lifetimes, device: int) -> Iterator[tuple[str, str, DeviceProgram]]:
    for modules, changed in resharded(lifetimes, device):
        names = _patterns(modules)
        how = f"pass reshard_after_forward=True to fully_shard of {names}: backward gathers it again"
        yield f"reshard_after_forward of {names}", how, changed
    for line, changed in with_fused_adam(lifetimes, device):
        yield "a fused optimizer step", f"pass fused=True to the optimizer that steps at {line}", changed
    for line, changed in with_for_loop(lifetimes, device):
        how = f"pass foreach=False to the optimizer that steps at {line}: it takes one parameter after the other, which is slower"
        yield "an optimizer step without foreach", how, changed
    for changed in with_bfloat16_states(lifetimes, device):
        how = (
            "pass fused=True to the optimizer, and make its exp_avg and exp_avg_sq in bfloat16 before its first step, in a hook of "
            "register_step_pre_hook: the fused kernel takes them from torch 2.13 on"
        )
        yield "optimizer states in bfloat16", how, changed
    for block, changed in chunked(lifetimes, device):
        how = (
            f"compute the cross entropy at {block.call_site} in {CHUNKS} chunks of the tokens, each through "
            'torch.utils.checkpoint.checkpoint: cross_entropy(part.float(), labels, reduction="sum")'
        )
        yield f"the loss in {CHUNKS} chunks", how, changed
    for changed in freed_after_step(lifetimes, device):
        yield "zero_grad() at the end of the step", "call optimizer.zero_grad() right after optimizer.step()", changed
    for changed in set_to_none(lifetimes, device):
        yield "gradients set to None", "call zero_grad(set_to_none=True), the default, instead of set_to_none=False", changed
    for block, changed in deleted_at_end_of_step(lifetimes, device):
        tensor = f"{block.dtype}[{','.join(map(str, block.shape))}]"
        how = f"delete the name that holds what {block.call_site} makes when the step ends: it lives until the next step makes another"
        yield f"deleting {tensor} of {block.call_site}", how, changed


def _patterns(modules: Sequence[str]) -> str:
    """Their names, with one pattern for several that differ only in their index."""
    counts: dict[str, list[str]] = {}
    for module in modules:
        counts.setdefault(str(module_pattern(module)), []).append(module)
    return " and ".join(pattern if len(names) > 1 else names[0] for pattern, names in counts.items())
