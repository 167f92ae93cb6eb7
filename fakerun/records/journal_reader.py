"""The record of a rank that died, from its journal: what was recorded until then. What only the end of a run tells is left out."""

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fakerun.call_site import CallSite
from fakerun.mesh import Mesh
from fakerun.records.collective import CollectiveRecord, CommunicationCall
from fakerun.records.device_program import DeviceProgram, DeviceStream, program_of
from fakerun.records.findings import Finding
from fakerun.records.group_creations import GroupCreations
from fakerun.records.group_names import GroupNames
from fakerun.records.issued_call import IssuedCall
from fakerun.records.journal import (
    BLOCK,
    CALL,
    CALL_FIELDS,
    CATEGORIES,
    CATEGORISED,
    FREED,
    NONE,
    OPTIMIZER_STEP,
    PHASES,
    PICKLED,
    WAITED,
    WINDOW,
    Entry,
    Event,
)
from fakerun.records.memory import MemoryBlock, rounded_size_bytes
from fakerun.records.run import RankRecord
from fakerun.records.training_steps import TrainingSteps


def recorded_in(path: Path, rank: int, *, world_size: int, asked: Mesh | None) -> RankRecord | None:
    """The record of the rank up to its death; None if it wrote no journal, or one that is not whole. `asked` is the mesh of the job."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    reader = _Reader(GroupNames(rank, world_size, asked))
    try:
        return reader.record(rank) if reader.read(data) else None
    except Exception:  # the rank wrote over it: what kills a process may be that
        return None


@dataclass(slots=True)
class _Reader:
    """Everything that the journal says, in the order in which it says it."""

    names: GroupNames
    numbered: list[Any] = field(default_factory=list)
    blocks: list[MemoryBlock] = field(default_factory=list)
    """With the CUDA index in place of the device."""
    streams: list[tuple[int, int, int | None]] = field(default_factory=list)
    """The CUDA index of the device, the priority and the index of each stream."""
    events: list[int] = field(default_factory=list)
    optimizer_step_ends: list[int] = field(default_factory=list)
    training_steps: TrainingSteps = field(default_factory=TrainingSteps)
    calls: list[IssuedCall] = field(default_factory=list)
    waited_before: dict[int, int] = field(default_factory=dict)
    groups: list[tuple[tuple[int, ...], str, str]] = field(default_factory=list)
    creations: GroupCreations = field(default_factory=GroupCreations)
    devices: dict[int, int] = field(default_factory=dict)
    """The index on the node of each CUDA index, in order of first use."""
    findings: list[Finding] = field(default_factory=list)
    version: str | None = None

    def read(self, data: bytes) -> bool:
        """Read the journal; whether it is whole up to the end."""
        start = 0
        while start + WINDOW.size <= len(data):
            (size,) = WINDOW.unpack_from(data, start)
            last = self._read_window(data, start + WINDOW.size)
            if last is not Entry.NEXT_WINDOW:
                return last is Entry.END
            start += size
        return False

    def _read_window(self, data: bytes, at: int) -> Entry:
        while True:
            kind = data[at]
            if kind == Entry.BLOCK:
                self._add_block(*BLOCK.unpack_from(data, at)[1:])
                at += BLOCK.size
            elif kind == Entry.FREED:
                self.events.append(~FREED.unpack_from(data, at)[1])
                at += FREED.size
            elif kind == Entry.CATEGORISED:
                self._categorise(*CATEGORISED.unpack_from(data, at)[1:])
                at += CATEGORISED.size
            elif kind == Entry.OPTIMIZER_STEP:
                self.optimizer_step_ends.append(len(self.events))
                at += OPTIMIZER_STEP.size
            elif kind == Entry.WAITED:
                self.waited_before[WAITED.unpack_from(data, at)[1]] = len(self.calls)
                at += WAITED.size
            elif kind == Entry.CALL:
                self._add_call(*CALL.unpack_from(data, at)[1:])
                at += CALL.size
            elif kind in (Entry.NUMBERED, Entry.EVENT):
                size = PICKLED.unpack_from(data, at)[1]
                value = pickle.loads(data[at + PICKLED.size : at + PICKLED.size + size])
                self.numbered.append(value) if kind == Entry.NUMBERED else self._take(*value)
                at += PICKLED.size + size
            else:
                return Entry(kind)

    def _add_block(self, category: int, phase: int, cuda_index: int, stream: int, owner: int, site: int, what: int, requested: int) -> None:
        shape, dtype = self.numbered[what]
        self.events.append(len(self.blocks))
        self.blocks.append(
            MemoryBlock(
                nbytes=rounded_size_bytes(requested),
                requested_bytes=requested,
                category=CATEGORIES[category],
                phase=PHASES[phase],
                module=self.numbered[owner],
                call_site=self.numbered[site],
                shape=shape,
                dtype=dtype,
                device=cuda_index,
                stream=stream,
            )
        )

    def _categorise(self, category: int, block: int, owner: int) -> None:
        self.blocks[block] = replace(self.blocks[block], category=CATEGORIES[category], module=self.numbered[owner])

    def _take(self, kind: int, *values: Any) -> None:
        take: Mapping[Event, Callable[..., None]] = {
            Event.GROUP: self._add_group,
            Event.GROUPS_CREATED: self._add_creation,
            Event.MESH: self.names.add_mesh,
            Event.FINDING: self.findings.append,
            Event.DEVICE: self.devices.__setitem__,
            Event.TRAINING_STEPS: self._set_training_steps,
            Event.STEP_ENDED: lambda end: self._set_training_steps((*self.training_steps.ends, end)),
            Event.VERSION: self._set_version,
            Event.STREAM: lambda *stream: self.streams.append(stream),
        }
        take[Event(kind)](*values)

    def _add_call(self, what: int, phase: int, owner: int, site: int, optimizer_steps: int, coalesced: int, device: int) -> None:
        *values, group = self.numbered[what]
        ranks, description, process_group = self.groups[group]
        self.calls.append(
            IssuedCall(
                call=CommunicationCall(
                    **dict(zip(CALL_FIELDS, values, strict=True)),
                    group_ranks=ranks,
                    group_description=description,
                    process_group=process_group,
                ),
                optimizer_steps=optimizer_steps,
                phase=PHASES[phase],
                module=self.numbered[owner],
                call_site=self.numbered[site],
                coalesced=None if coalesced == NONE else coalesced,
                device=None if device == NONE else device,
            )
        )

    def _add_group(self, ranks: tuple[int, ...], description: str, process_group: str) -> None:
        self.groups.append((ranks, description, process_group))

    def _add_creation(
        self, groups: tuple[tuple[int, ...], ...], callers: tuple[int, ...] | None, before: int, call_site: CallSite | None
    ) -> None:
        self.creations.add(groups, callers, before, call_site)

    def _set_training_steps(self, ends: tuple[int, ...]) -> None:
        self.training_steps = TrainingSteps(ends)

    def _set_version(self, version: str) -> None:
        self.version = version

    def record(self, rank: int) -> RankRecord:
        return RankRecord(
            rank=rank,
            mesh=self.names.mesh,
            steps=len(self.training_steps.ends),
            collectives=tuple(self._collectives()),
            group_creations=self.creations.records(),
            program=self._program(),
            devices=tuple(self.devices.values()),
            findings=tuple(self.findings),
            torch_version=self.version,
        )

    def _collectives(self) -> Iterator[CollectiveRecord]:
        for number, issued in enumerate(self.calls):
            yield issued.record(
                seq=number,
                step=self.training_steps.of(issued.optimizer_steps),
                group=self.names.name(issued.call.group_ranks, issued.call.group_description),
                waited_before=self.waited_before.get(number),
            )

    def _program(self) -> DeviceProgram:
        """Of the device program, only what is allocated and freed."""
        ordinals = {index: ordinal for ordinal, index in enumerate(self.devices)}
        return program_of(
            [replace(block, device=ordinals[block.device]) for block in self.blocks],
            self.events,
            streams=[DeviceStream(device=ordinals[device], priority=priority, index=index) for device, priority, index in self.streams],
            step_ends=[self.optimizer_step_ends[taken - 1] for taken in self.training_steps.ends],
        )
