"""Compare two baselines: what differs, as statements for a person, with the lines of the new run that they are about."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fakerun.analysis.baseline.baseline import Baseline, Call, ClassBaseline, DeviceProfile
from fakerun.analysis.baseline.call_changes import CallChange, ChangeKind, call_changes
from fakerun.analysis.baseline.calls import NO_GROUP, what_is_called
from fakerun.analysis.baseline.causes import (
    RESHARD,
    ClassPair,
    cause_of_calls,
    cause_of_devices,
    cause_of_memory,
    cause_of_parameters,
    is_within,
)
from fakerun.analysis.baseline.difference import Difference, DifferenceKind
from fakerun.analysis.baseline.folding import issuing_function
from fakerun.analysis.baseline.places import Places
from fakerun.call_site import CallSite
from fakerun.job.tolerances import DEFAULT_TOLERANCES, Tolerances
from fakerun.records.collective import Phase
from fakerun.records.memory import Category
from fakerun.units import format_bytes, join_words

_NO_PLACES = Places()


def differences(
    old: Baseline, new: Baseline, tolerances: Tolerances = DEFAULT_TOLERANCES, places: Places = _NO_PLACES
) -> tuple[Difference, ...]:
    """What differs, beyond the tolerances; nothing if the job does what its baseline says. `places` are those of the new run."""
    pairs, found = _paired_classes(old, new)
    comparison = _Comparison(tolerances, places, mesh_changed=old.job.mesh != new.job.mesh or old.job.ranks != new.job.ranks)
    return (*_of_job(old, new, places.mesh), *found, *_merged(pairs, comparison.of_pair))


def _of_job(old: Baseline, new: Baseline, mesh: CallSite | None) -> Iterator[Difference]:
    if old.job.mesh != new.job.mesh:
        yield Difference(kind=DifferenceKind.MESH, what=f"the mesh is {new.job.mesh} instead of {old.job.mesh}", call_site=mesh)
    if old.job.ranks != new.job.ranks:
        yield Difference(kind=DifferenceKind.RANKS, what=f"the job has {new.job.ranks} ranks instead of {old.job.ranks}")


# -- classes -------------------------------------------------------------------------------------------------------------------------------


def _paired_classes(old: Baseline, new: Baseline) -> tuple[list[ClassPair], list[Difference]]:
    """Each class of the new run with the one that it is compared with, and what is to be said of the classes themselves.

    By name; the rest in order where as many are left of both. A class that is new is compared with the old one that it is most like.
    """
    known = {each.ranks: each for each in old.classes}
    pairs = [ClassPair(known[each.ranks], each) for each in new.classes if each.ranks in known]
    taken = {pair.old.ranks for pair in pairs}
    gone = [each for each in old.classes if each.ranks not in taken]
    added = [each for each in new.classes if each.ranks not in known]
    is_other_job = (old.job.mesh, old.job.ranks) != (new.job.mesh, new.job.ranks)
    if len(gone) == len(added):
        renamed = [ClassPair(*pair) for pair in zip(gone, added, strict=True)]
        return pairs + renamed, [] if is_other_job else list(map(_renamed, renamed))
    if old.classes:
        pairs += [ClassPair(_most_like(each, old.classes), each) for each in added]
    return pairs, [] if is_other_job else [*_class_differences("is new", added), *_class_differences("is gone", gone)]


def _class_differences(what: str, classes: Sequence[ClassBaseline]) -> Iterator[Difference]:
    return (_class_difference(f"class {each.ranks} {what} ({_ranks(each.count)})") for each in classes)


def _most_like(each: ClassBaseline, old: Sequence[ClassBaseline]) -> ClassBaseline:
    return max(old, key=lambda was: _likeness(was, each))


def _renamed(pair: ClassPair) -> Difference:
    return _class_difference(f"class {pair.new.ranks} ({_ranks(pair.new.count)}) instead of {pair.old.ranks} ({_ranks(pair.old.count)})")


def _class_difference(what: str) -> Difference:
    return Difference(kind=DifferenceKind.RANKS, what=what)


def _ranks(count: int) -> str:
    return f"{count} rank{'s' * (count != 1)}"


def _likeness(old: ClassBaseline, new: ClassBaseline) -> tuple[bool, bool, int]:
    peaks = [sum(device.allocated for device in each.devices.values()) for each in (old, new)]
    return old.schedule == new.schedule, old.devices.keys() == new.devices.keys(), -abs(peaks[0] - peaks[1])


def _merged(pairs: Sequence[ClassPair], of_pair: Callable[[ClassPair], Iterator[Difference]]) -> Iterator[Difference]:
    """The differences of all pairs, one that several have once, with their classes; the classes go without saying if they are all."""
    found: dict[Difference, list[str]] = {}
    for pair in pairs:
        for difference in dict.fromkeys(of_pair(pair)):
            found.setdefault(difference, []).append(pair.new.ranks)
    for difference, classes in found.items():
        yield difference if len(classes) == len(pairs) else replace(difference, classes=tuple(classes))


# -- one class -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Compares pairs of classes. A parameter's size follows from a changed mesh, and says nothing about the model."""

    tolerances: Tolerances
    places: Places
    mesh_changed: bool = field(kw_only=True)

    def of_pair(self, pair: ClassPair) -> Iterator[Difference]:
        yield from _ending(pair)
        yield from self._calls(pair)
        yield from self._devices(pair)
        for old, new in zip(pair.old.devices.values(), pair.new.devices.values(), strict=False):
            yield from self._parameters(old, new)
            yield from self._memory(pair, old, new)

    # -- calls -------------------------------------------------------------------------------------------------------------------------

    def _calls(self, pair: ClassPair) -> Iterator[Difference]:
        groups: dict[object, list[CallChange]] = {}
        for change in call_changes(pair.old.schedule, pair.new.schedule, self.tolerances.messages):
            groups.setdefault(_statement(change), []).append(change)
        for changes in groups.values():
            yield self._of_calls(pair, changes)

    def _of_calls(self, pair: ClassPair, changes: Sequence[CallChange]) -> Difference:
        """One statement about changes of one kind."""
        first = changes[0]
        part = f" {first.part}" if first.part else ""
        cause = None if self.mesh_changed else cause_of_calls(pair, first)
        return Difference(
            kind=DifferenceKind.MESSAGES if first.kind is ChangeKind.MESSAGE else DifferenceKind.CALLS,
            what=f"{_what_changed(changes)}{part}",
            cause=cause,
            call_site=self._sharding(first.call) if cause == RESHARD else self._call_site(pair, first),
        )

    def _call_site(self, pair: ClassPair, change: CallChange) -> CallSite | None:
        """The line that issues the new call; for one in backward, that of the same module in forward. Else a line of the same function."""
        call = change.call
        if call.phase is Phase.BACKWARD and call.module is not None and (calling := self._calling(call.module)) is not None:
            return calling
        return self.places.calls.get(call) or self._of_function(pair.old, call) or self._of_module(call)

    def _of_function(self, old: ClassBaseline, call: Call) -> CallSite | None:
        """A line that issues another call in the function that issued this one."""
        functions = (issuing_function(part.items, call) for part in old.schedule.parts)
        return next((self.places.functions[each] for each in functions if each is not None and each in self.places.functions), None)

    def _sharding(self, call: Call) -> CallSite | None:
        """The line that allocated the parameters of the call's module: `fully_shard`, unless these were on the meta device then."""
        sites = (
            site
            for (module, category), site in self.places.memory.items()
            if category is Category.PARAMETER and is_within(module, call.module or "")
        )
        return next(sites, self._calling(call.module or ""))

    def _calling(self, module: str) -> CallSite | None:
        """A line that issues a call of the module in forward: FSDP's are issued where the module is called."""
        sites = (site for known, site in self.places.calls.items() if (known.phase, known.module) == (Phase.FORWARD, module))
        return next(sites, None)

    def _of_module(self, call: Call) -> CallSite | None:
        """A line that issues another call of the same module in the same phase."""
        same = (site for known, site in self.places.calls.items() if (known.module, known.phase) == (call.module, call.phase))
        return next(same, None)

    # -- memory ------------------------------------------------------------------------------------------------------------------------

    def _devices(self, pair: ClassPair) -> Iterator[Difference]:
        was, now = (join_words(tuple(each.devices)) or "no device" for each in (pair.old, pair.new))
        if was != now:
            yield Difference(
                kind=DifferenceKind.DEVICES,
                what=f"ranks use {now} instead of {was}",
                cause=cause_of_devices(pair),
                call_site=next((self.places.devices[name] for name in pair.new.devices if name in self.places.devices), None),
            )

    def _parameters(self, old: DeviceProfile, new: DeviceProfile) -> Iterator[Difference]:
        """Modules whose parameters have another size: these are few, and what else changes follows from them."""
        if old.modules is None or new.modules is None:
            return
        for module, share in new.modules.items():
            known = old.modules.get(module)
            if known is None:
                continue
            before, after = (each.categories.get(Category.PARAMETER, 0) for each in (known, share))
            if before and after and not self.tolerances.parameters.allows(before, after):
                yield Difference(
                    kind=DifferenceKind.PARAMETERS,
                    what=f"parameters of {module} {_times(before, after)} ({format_bytes(before)} -> {format_bytes(after)})",
                    cause=None if self.mesh_changed else cause_of_parameters(known, share),
                    call_site=self.places.made.get(module),
                )

    def _memory(self, pair: ClassPair, old: DeviceProfile, new: DeviceProfile) -> Iterator[Difference]:
        allocated = not self.tolerances.allocated.allows(old.allocated, new.allocated)
        reserved = not self.tolerances.reserved.allows(old.reserved, new.reserved)
        shares = self._changed_shares(old, new)
        if not (allocated or reserved or shares):
            return
        change = new.allocated - old.allocated
        shown = [each for each in shares if (each.change > 0) == (change > 0)][:2] if allocated else shares[:3]
        parts = ", ".join(f"{each.name} {_signed(each.change)}" for each in shown)
        cause = None if self.mesh_changed else cause_of_memory(old, new, [each.key for each in shown])
        yield Difference(
            kind=DifferenceKind.MEMORY,
            what=f"{_peaks(old, new, allocated=allocated, reserved=reserved)}{f', {parts}' if parts else ''}",
            cause=cause,
            call_site=self._memory_site(shown, is_checkpoint=cause is not None),
        )

    def _memory_site(self, shown: Sequence["_Share"], *, is_checkpoint: bool) -> CallSite | None:
        """The line that allocates what changed most; where a checkpoint is the cause, the line that calls the layer."""
        calling = (self._calling(each.key[0]) for each in shown if is_checkpoint)
        allocating = (self.places.memory.get(each.key) for each in shown)
        return next((site for site in (*calling, *allocating) if site is not None), None)

    def _changed_shares(self, old: DeviceProfile, new: DeviceProfile) -> list["_Share"]:
        """What holds more or less of the peak than the tolerances allow, most first: modules; categories where modules are not known."""
        tolerance = self.tolerances.modules
        before, after = _shares(old), _shares(new)
        if not (old.modules and new.modules):
            tolerance = self.tolerances.categories
            before, after = _category_shares(old), _category_shares(new)
        changed = [
            _Share(key, after.get(key, 0) - before.get(key, 0))
            for key in {**before, **after}
            if not tolerance.allows(before.get(key, 0), after.get(key, 0), of=old.allocated)
        ]
        return sorted(changed, key=lambda share: -abs(share.change))


_NOUNS: Mapping[Category, str] = {
    Category.PARAMETER: "parameters",
    Category.BUFFER: "buffers",
    Category.GRADIENT: "gradients",
    Category.OPTIMIZER_STATE: "optimizer state",
    Category.ACTIVATION: "activations",
    Category.COMMUNICATION: "communication buffers",
    Category.INPUT: "inputs",
    Category.TEMPORARY: "temporaries",
}


@dataclass(frozen=True, slots=True)
class _Share:
    """What a module holds of a category at the peak; without a module, all of the category."""

    key: tuple[str, Category]
    change: int

    @property
    def name(self) -> str:
        module, category = self.key
        return f"{_NOUNS[category]} {'of ' if module and ' ' not in module else ''}{module}".rstrip()


def _shares(device: DeviceProfile) -> dict[tuple[str, Category], int]:
    modules = device.modules or {}
    return {(module, category): nbytes for module, share in modules.items() for category, nbytes in share.categories.items()}


def _category_shares(device: DeviceProfile) -> dict[tuple[str, Category], int]:
    return {("", category): nbytes for category, nbytes in device.categories.items()}


def _peaks(old: DeviceProfile, new: DeviceProfile, *, allocated: bool, reserved: bool) -> str:
    """`peak +3.1 GiB (12.8 GiB -> 15.9 GiB allocated)`, and what is reserved where that alone differs."""
    if allocated:
        also = f", {_signed(new.reserved - old.reserved)} reserved" if reserved else ""
        return f"peak {_change(old.allocated, new.allocated)} allocated{also}"
    if reserved:
        return f"peak {_change(old.reserved, new.reserved)} reserved"
    return "the same peak is made up differently"


def _change(old: int, new: int) -> str:
    return f"{_signed(new - old)} ({format_bytes(old)} -> {format_bytes(new)})"


def _signed(nbytes: int) -> str:
    return f"{'-' if nbytes < 0 else '+'}{format_bytes(abs(nbytes))}"


def _times(old: int, new: int) -> str:
    return f"x{new / old:.3g}"


def _ending(pair: ClassPair) -> Iterator[Difference]:
    if pair.old.ended != pair.new.ended:
        was, now = (each.ended or "came to their end" for each in (pair.old, pair.new))
        yield Difference(kind=DifferenceKind.ENDING, what=f"ranks: {now}; before: {was}")


# -- calls in words ------------------------------------------------------------------------------------------------------------------------


def _statement(change: CallChange) -> object:
    """Equal for changes that are one statement: a group of another size is said once, the same ratio of sizes once for each module."""
    if change.kind is ChangeKind.GROUP and change.old is not None and change.old.group == change.call.group:
        return change.kind, change.part, change.old.group, change.old.group_size, change.call.group_size
    if change.kind is ChangeKind.MESSAGE and change.old is not None and change.old.nbytes:
        return change.kind, change.part, change.call.module, change.call.group, round(change.call.nbytes / change.old.nbytes, 3)
    return change


def _what_changed(changes: Sequence[CallChange]) -> str:
    first, count = changes[0], sum(change.count for change in changes)
    calls = f" ({count} call{'s' * (count != 1)})"
    old, new = first.old, first.new
    if old is None or new is None:
        return f"{'+' if old is None else '-'}{count} {what_is_called(first.call)}"
    if first.kind is ChangeKind.ORDER:
        return f"the order of calls changed: first {what_is_called(new)} where {what_is_called(old)} was"
    if first.kind is ChangeKind.MESSAGE:
        return f"{_messages(changes)}{f' {_times(old.nbytes, new.nbytes)}' if old.nbytes else ''} ({_sizes(old, new)}){calls}"
    return f"{_CHANGED[first.kind](old, new)}{calls}"


def _other_group(old: Call, new: Call) -> str:
    if old.group != new.group:
        return f"{what_is_called(new)} instead of on {old.group or NO_GROUP}"
    if old.group_size != new.group_size:
        return f"{new.group or NO_GROUP} has {new.group_size} rank{'s' * (new.group_size != 1)} instead of {old.group_size}"
    return f"{what_is_called(new)} has another {'root' if old.root != new.root else 'peer'}"


_CHANGED: Mapping[ChangeKind, Callable[[Call, Call], str]] = {
    ChangeKind.REDUCTION: lambda old, new: f"{what_is_called(new)} reduces with {new.reduce_op} instead of {old.reduce_op}",
    ChangeKind.OPERATION: lambda old, new: f"{old.op} became {what_is_called(new)}",
    ChangeKind.DTYPE: lambda old, new: f"{what_is_called(new)} is of {new.dtype or 'no dtype'} instead of {old.dtype or 'no dtype'}",
    ChangeKind.GROUP: _other_group,
    ChangeKind.MODULE: lambda old, new: f"{what_is_called(new)} instead of {old.module or 'no module'}",
    ChangeKind.PHASE: lambda old, new: f"{what_is_called(new)} instead of in {old.phase}",
}


def _messages(changes: Sequence[CallChange]) -> str:
    """`bytes of all_gather_into_tensor and reduce_scatter_tensor on dp of layers.*`."""
    ops = tuple(dict.fromkeys(change.call.op for change in changes))
    phases = {change.call.phase for change in changes}
    call = changes[0].call
    if len(ops) == 1 and len(phases) == 1:
        return f"bytes of {what_is_called(call)}"
    module = f" of {call.module}" if call.module else ""
    return f"bytes of {join_words(ops)} on {call.group or NO_GROUP}{module}"


def _sizes(old: Call, new: Call) -> str:
    return f"{format_bytes(old.nbytes)} -> {format_bytes(new.nbytes)}"
