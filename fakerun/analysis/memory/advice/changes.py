"""The changes that could lower the peak: what each is called, what the user has to do, and the edit of the program."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from fakerun.allocator.settings import AllocatorSettings
from fakerun.analysis.memory.advice.checkpointing import checkpointed
from fakerun.analysis.memory.advice.chunked_loss import CHUNKS, chunked
from fakerun.analysis.memory.advice.for_loop_optimizer import with_for_loop
from fakerun.analysis.memory.advice.fully_sharded import fully_sharded
from fakerun.analysis.memory.advice.fused_optimizer import with_fused_adam
from fakerun.analysis.memory.advice.gradients import freed_after_step, set_to_none
from fakerun.analysis.memory.advice.kept_tensors import deleted_at_end_of_step
from fakerun.analysis.memory.advice.lifetimes import Lifetimes
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.analysis.memory.advice.replication import GradientReduction
from fakerun.analysis.memory.advice.resharding import resharded
from fakerun.analysis.memory.advice.sharded_states import sharded
from fakerun.analysis.memory.advice.state_precision import with_bfloat16_states
from fakerun.analysis.memory.breakdown import module_pattern
from fakerun.records.device_program import DeviceProgram

_Found: TypeAlias = Iterator[tuple[str, str, ProgramEdit]]
"""Changes of one kind: what each is called, what the user has to do, and the edit."""
_Finder: TypeAlias = Callable[[Lifetimes, int, Sequence[GradientReduction]], _Found]


@dataclass(frozen=True, slots=True)
class Change:
    """One change: `settings` are those of the allocator with it, `edit` that of the program, which stays as it is if None."""

    what: str
    how: str
    settings: AllocatorSettings
    edit: ProgramEdit | None
    finder: _Finder | None = None

    @property
    def is_checkpointing(self) -> bool:
        return self.finder is _checkpoint

    def made_to(
        self, program: DeviceProgram, settings: AllocatorSettings, device: int, reductions: Sequence[GradientReduction]
    ) -> "Change | None":
        """The same change to another program and other settings; None if it does not apply to them."""
        if self.finder is None:
            return _with_expandable_segments(settings)
        found = self.finder(Lifetimes(program), device, reductions)
        return next((Change(what, how, settings, edit, self.finder) for what, how, edit in found if what == self.what), None)


def changes(program: DeviceProgram, settings: AllocatorSettings, device: int, reductions: Sequence[GradientReduction]) -> Iterator[Change]:
    """Each change that applies to the program, found one after the other; the edited programs are not made yet."""
    expandable = _with_expandable_segments(settings)
    if expandable is not None:
        yield expandable
    lifetimes = Lifetimes(program)
    for finder in _FINDERS:
        for what, how, edit in finder(lifetimes, device, reductions):
            yield Change(what, how, settings, edit, finder)


def _with_expandable_segments(settings: AllocatorSettings) -> Change | None:
    if settings.expandable_segments:
        return None
    expandable = replace(settings, expandable_segments=True)
    return Change("expandable segments", f"set PYTORCH_ALLOC_CONF={expandable.text}", expandable, None)


def _reshard(lifetimes: Lifetimes, device: int, _: Sequence[GradientReduction]) -> _Found:
    for modules, edit in resharded(lifetimes, device):
        names = _patterns(modules)
        how = f"pass reshard_after_forward=True to fully_shard of {names}: backward gathers it again"
        yield f"reshard_after_forward of {names}", how, edit


def _chunk_loss(lifetimes: Lifetimes, device: int, _: Sequence[GradientReduction]) -> _Found:
    for block, edit in chunked(lifetimes, device):
        how = (
            f"compute the cross entropy at {block.call_site} in {CHUNKS} chunks of the tokens, each through "
            'torch.utils.checkpoint.checkpoint: cross_entropy(part.float(), labels, reduction="sum")'
        )
        yield f"the loss in {CHUNKS} chunks", how, edit


def _free_gradients(lifetimes: Lifetimes, device: int, _: Sequence[GradientReduction]) -> _Found:
    for edit in freed_after_step(lifetimes, device):
        yield "zero_grad() at the end of the step", "call optimizer.zero_grad() right after optimizer.step()", edit
    for edit in set_to_none(lifetimes, device):
        yield "gradients set to None", "call zero_grad(set_to_none=True), the default, instead of set_to_none=False", edit


def _delete(lifetimes: Lifetimes, device: int, _: Sequence[GradientReduction]) -> _Found:
    for block, edit in deleted_at_end_of_step(lifetimes, device):
        tensor = f"{block.dtype}[{','.join(map(str, block.shape))}]"
        how = f"delete the name that holds what {block.call_site} makes when the step ends: it lives until the next step makes another"
        yield f"deleting {tensor} of {block.call_site}", how, edit


def _fuse(lifetimes: Lifetimes, device: int, _: Sequence[GradientReduction]) -> _Found:
    for line, edit in with_fused_adam(lifetimes, device):
        yield "a fused optimizer step", f"pass fused=True to the optimizer that steps at {line}", edit


def _loop(lifetimes: Lifetimes, device: int, _: Sequence[GradientReduction]) -> _Found:
    for line, edit in with_for_loop(lifetimes, device):
        how = f"pass foreach=False to the optimizer that steps at {line}: it takes one parameter after the other, which is slower"
        yield "an optimizer step without foreach", how, edit


def _keep_bfloat16(lifetimes: Lifetimes, device: int, _: Sequence[GradientReduction]) -> _Found:
    for edit in with_bfloat16_states(lifetimes, device):
        how = (
            "pass fused=True to the optimizer, and make its exp_avg and exp_avg_sq in bfloat16 before its first step, in a hook of "
            "register_step_pre_hook: the fused kernel takes them from torch 2.13 on"
        )
        yield "optimizer states in bfloat16", how, edit


def _shard_states(lifetimes: Lifetimes, device: int, reductions: Sequence[GradientReduction]) -> _Found:
    for each in sharded(lifetimes, device, reductions):
        group = "all ranks" if each.group == "world" else each.group
        how = (
            f"wrap the optimizer in torch.distributed.optim.ZeroRedundancyOptimizer, with the group of {group}: each of its "
            f"{each.group_size} ranks keeps the states of its share of the parameters, most of all number {each.position}, as computed here"
        )
        if each.others is not None:
            how += f"; give the parameters of {each.others} an optimizer of their own that steps after it: they differ between these ranks"
        yield f"optimizer states sharded over {group}", how, each.edit


def _shard_fully(lifetimes: Lifetimes, device: int, reductions: Sequence[GradientReduction]) -> _Found:
    for reduction, edit in fully_sharded(lifetimes, device, reductions):
        how = (
            f"pass fully_shard a mesh of one axis, with the ranks of {reduction.group} and of the axis that it shards over now, instead of "
            f"one that replicates over {reduction.group}"
        )
        yield f"FSDP that shards over {reduction.group}, too", how, edit


def _checkpoint(lifetimes: Lifetimes, device: int, _: Sequence[GradientReduction]) -> _Found:
    for pattern, edit in checkpointed(lifetimes, device):
        how = f"call {pattern} through torch.utils.checkpoint.checkpoint with use_reentrant=False; backward runs its forward again"
        yield f"activation checkpointing of {pattern}", how, edit


_FINDERS: tuple[_Finder, ...] = (
    *(_reshard, _chunk_loss, _free_gradients, _delete),
    *(_fuse, _loop, _keep_bfloat16, _shard_states, _shard_fully),
    _checkpoint,
)


def _patterns(modules: Sequence[str]) -> str:
    """Their names, with one pattern for several that differ only in their index."""
    counts: dict[str, list[str]] = {}
    for module in modules:
        counts.setdefault(str(module_pattern(module)), []).append(module)
    return " and ".join(pattern if len(names) > 1 else names[0] for pattern, names in counts.items())
