"""`reshard_after_forward=True` of FSDP2: gathered parameters are freed after a unit's forward, and gathered again for its backward.

Assumes what FSDP2 of torch 2.11 to 2.14 does (torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py): a unit is freed when its forward
ends; before its backward it is gathered with the requests that forward made, unless that was begun already, and the unit that forward left
before it is begun then (implicit prefetching). What was gathered is freed once it was copied out, the copies when the unit's backward ends.
Where units stay gathered for several microbatches nothing is proposed: each would gather them again.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from fakerun.analysis.memory.advice.lifetimes import Allocation, Lifetimes
from fakerun.analysis.memory.advice.module_visits import computing_allocations, computing_stream, end_of_operation, is_in
from fakerun.analysis.memory.advice.program_edit import ProgramEdit
from fakerun.records.collective import Phase

_COPY_OUT = "fsdp.split_with_sizes_copy.default"


@dataclass(slots=True)
class _Unit:
    """One forward of a unit: `gathered` on the stream of the all-gather, then `copies` for the modules; forward leaves it at `ends`."""

    module: str
    copies: list[Allocation]
    gathered: list[Allocation]
    ends: int = 0
    backward: int | None = None
    """Where its backward begins."""
    stays: bool = False
    """Whether it is gathered from forward to backward."""
    serves_several: bool = False
    """Whether it stays gathered for a further forward: of the next microbatch, which would gather it again."""
    begun: list[int] = field(default_factory=list)


def resharded(lifetimes: Lifetimes, device: int) -> Iterator[tuple[tuple[str, ...], ProgramEdit]]:
    """The edit to the program in which no unit stays gathered between its forward and its backward, and the modules that it changes."""
    units = _units(lifetimes, device)
    changed = [unit for unit in units if unit.stays]
    if changed and not any(unit.serves_several for unit in changed):
        edit = ProgramEdit(lifetimes)
        for start, end in _rounds(units):
            _reshard(edit, sorted(units[start:end], key=lambda unit: unit.ends))
        yield tuple(dict.fromkeys(unit.module for unit in changed)), edit


def _units(lifetimes: Lifetimes, device: int) -> list[_Unit]:
    """Every forward of every unit, in the order in which it gathered."""
    stream = computing_stream(lifetimes, device)
    allocations = computing_allocations(lifetimes, device)
    units = []
    for position in lifetimes.executions:
        if lifetimes.operation_at(position) != _COPY_OUT:
            continue
        copies = [each for each in lifetimes.results_of(position) if each.block.device == device and each.block.stream == stream]
        if copies and copies[0].block.phase is Phase.FORWARD and copies[0].block.module is not None:
            gathered = _gathered(lifetimes, copies[0], stream)
            units.append(_Unit(copies[0].block.module, copies, gathered))
    inside = _by_unit(allocations, {unit.module for unit in units})
    for unit in units:
        _place(lifetimes, unit, inside[unit.module])
    return units


def _by_unit(allocations: Sequence[Allocation], units: Set[str]) -> Mapping[str, Sequence[Allocation]]:
    """What the modules of each unit allocate, and those inside them: of a unit that no other module is in, the root, all."""
    names = {each.block.module for each in allocations}
    around = {name: [unit for unit in units if is_in(name, unit)] for name in names}
    roots = [unit for unit in units if not any(unit in found for name, found in around.items() if name != unit)]
    inside: dict[str, list[Allocation]] = {unit: [] for unit in units}
    for each in allocations:
        for unit in around[each.block.module]:
            inside[unit].append(each)
    return inside | dict.fromkeys(roots, allocations)


def _gathered(lifetimes: Lifetimes, copy: Allocation, stream: int | None) -> list[Allocation]:
    """What the unit requested on other streams for its all-gather, right before its copies."""
    found = []
    for each in reversed(lifetimes.allocations[: copy.number]):
        if each.block.module != copy.block.module or each.block.stream == stream or each.block.phase is not Phase.FORWARD:
            break
        found.append(each)
    return found[::-1]


def _place(lifetimes: Lifetimes, unit: _Unit, inside: Sequence[Allocation]) -> None:
    """Find where the unit's forward ends and its backward begins; `inside` is what its modules allocate."""
    start = unit.copies[0].allocated_at
    turn = lifetimes.next_phase(start, Phase.BACKWARD) or len(lifetimes.program.order)
    forward = [each for each in inside if start < each.allocated_at < turn and each.block.module is not None]
    last = forward[-1] if forward else unit.copies[-1]
    unit.ends = lifetimes.next_allocation(end_of_operation(lifetimes, last.allocated_at))
    unit.backward = next((each.allocated_at for each in inside if each.allocated_at > turn and each.block.module is not None), None)
    ends = [each.freed_at for each in unit.copies if each.freed_at is not None]
    unit.stays = len(ends) == len(unit.copies) and unit.backward is not None and max(ends) > unit.backward
    next_forward = lifetimes.next_phase(turn, Phase.FORWARD)
    unit.serves_several = unit.stays and next_forward is not None and next_forward < max(ends)


def _rounds(units: Sequence[_Unit]) -> Iterator[tuple[int, int]]:
    """Forwards of the same units follow each other: the ranges in which each is there once."""
    start = 0
    seen: set[str] = set()
    for index, unit in enumerate(units):
        if unit.module in seen:
            yield start, index
            start = index
            seen.clear()
        seen.add(unit.module)
    if units:
        yield start, len(units)


def _reshard(edit: ProgramEdit, units: Sequence[_Unit]) -> None:
    """Free and gather again what stays gathered; `units` are in the order in which forward leaves them, backward comes the other way."""
    for index in reversed(range(len(units))):
        unit = units[index]
        if unit.backward is None:
            continue
        if unit.stays:
            if not unit.begun:
                _begin(edit, unit, unit.backward)
            for copy in unit.copies:
                number = edit.allocate(unit.backward, copy.block)
                assert copy.freed_at is not None
                edit.free(copy.freed_at, number)
                edit.free_at(copy, unit.ends)
            for number in unit.begun:
                edit.free(unit.backward, number)
        before = units[index - 1] if index else None
        if before is not None and before.stays and before.backward is not None:
            _begin(edit, before, unit.backward)


def _begin(edit: ProgramEdit, unit: _Unit, position: int) -> None:
    """Request what the all-gather needs, and free what it does not keep to the end."""
    first_copy = unit.copies[0].allocated_at
    for each in unit.gathered:
        unit.begun.append(edit.allocate(position, each.block))
    for each, number in zip(unit.gathered, tuple(unit.begun), strict=True):
        if each.freed_at is not None and each.freed_at < first_copy:
            edit.free(position, number)
            unit.begun.remove(number)
