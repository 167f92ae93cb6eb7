"""The journal of a rank: what it does, written down while it does it, for the record of a rank that dies before it can write one.

A file that the rank maps into its memory: what was written there stays when the process is killed, and writing costs no system call. The
launcher reads it, in a process that the rank could not harm, and removes it. The hot entries (a block is allocated, freed, categorised
anew; a call is issued) are numbers of fixed size; the rare ones are pickled. Texts, places and what calls transfer are written once and
numbered.

The file is a sequence of windows, each with its size in front, mapped one after the other. An entry begins with its kind, 0 where nothing
was written yet; the kind is written last.
"""

import mmap
import os
import pickle
import struct
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from enum import IntEnum
from operator import attrgetter
from pathlib import Path
from typing import Any

from fakerun.call_site import CallSite
from fakerun.records.collective import CommunicationCall, Phase
from fakerun.records.issued_call import IssuedCall
from fakerun.records.memory import Category

JOURNAL = "journal"
"""The name of the file, in the rank's directory."""

WINDOW_BYTES = 1 << 20


class Entry(IntEnum):
    """The kinds of entries."""

    END = 0
    NEXT_WINDOW = 1
    ABANDONED = 2
    """There was no room for more: the journal is not complete, and of no use."""
    BLOCK = 3
    FREED = 4
    CATEGORISED = 5
    OPTIMIZER_STEP = 6
    WAITED = 7
    NUMBERED = 8
    """A text or a place that has the next number."""
    EVENT = 9
    CALL = 10


class Event(IntEnum):
    """The kinds of pickled entries, with what each has."""

    GROUP = 1
    """group_ranks; description; process group: the next number of a group."""
    GROUPS_CREATED = 2
    """groups; callers; number of calls before; call site."""
    MESH = 3
    """mesh; groups."""
    FINDING = 4
    """Finding."""
    DEVICE = 5
    """CUDA index as the script counts it; the index on the node."""
    TRAINING_STEPS = 6
    """The ends of the training steps as they are known now."""
    STEP_ENDED = 7
    """The end of one training step more."""
    VERSION = 8
    """torch's version."""
    STREAM = 9
    """The device's CUDA index, the priority and the index of a stream: the next number of a stream."""


WINDOW = struct.Struct("<I")
BLOCK = struct.Struct("<BBBHHIIIQ")
FREED = struct.Struct("<BI")
CATEGORISED = struct.Struct("<BBII")
WAITED = struct.Struct("<BI")
CALL = struct.Struct("<BIBIIIqi")
OPTIMIZER_STEP = struct.Struct("<B")
PICKLED = struct.Struct("<BI")

CATEGORIES = tuple(Category)
PHASES = tuple(Phase)
_CATEGORY_NUMBERS: Mapping[Category, int] = {category: number for number, category in enumerate(CATEGORIES)}
CALL_FIELDS = tuple(
    each.name for each in fields(CommunicationCall) if each.name not in {"group_ranks", "group_description", "process_group"}
)
"""What is numbered of a call, before the number of its group: everything else, without the ranks, of which there may be thousands."""
NONE = -1
"""Where a call has no number."""
_values_of_call = attrgetter(*CALL_FIELDS)
_PHASE_NUMBERS: Mapping[Phase, int] = {phase: number for number, phase in enumerate(PHASES)}


class Journal:
    """Writes the journal of this process to `path`; without one, and in children that the script forks, it writes nothing."""

    def __init__(self, path: Path | None = None) -> None:
        self._window: mmap.mmap | None = None
        self._at = 0
        self._room_until = 0
        self._file_bytes = 0
        self._descriptor = -1
        self._numbers: dict[Any, int] = {}
        self._groups: dict[tuple[str, str], tuple[int, tuple[int, ...]]] = {}
        self._ends: tuple[int, ...] = ()
        self._kept: list[CallSite] = []
        """The sites that are numbered by identity."""
        if path is not None:
            with suppress(OSError):  # a full disk is reported by what cannot do without
                self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                self._open_window(WINDOW_BYTES)
            os.register_at_fork(after_in_child=self._stop)

    @property
    def is_written(self) -> bool:
        return self._window is not None

    def allocated(
        self,
        *,
        requested_bytes: int,
        category: Category,
        phase: Phase,
        module: str | None,
        call_site: CallSite | None,
        shape: tuple[int, ...],
        dtype: str,
        cuda_index: int,
        stream: int,
    ) -> None:
        """A block was allocated, the next one."""
        if self._window is None:
            return
        tensor = (shape, dtype)
        numbers = self._numbers
        # By identity, because hashing a site costs more than the rest; the trace keeps one object for each.
        site_id = id(call_site)
        site = numbers.get(site_id)
        if site is None:
            site = self._number_site(site_id, call_site)
        what = numbers.get(tensor)
        if what is None:
            what = self._number(tensor, tensor)
        owner = numbers.get(module)
        if owner is None:
            owner = self._number(module, module)
        at = self._reserve(BLOCK.size)
        if at >= 0:
            BLOCK.pack_into(
                self._window,
                at,
                Entry.BLOCK,
                _CATEGORY_NUMBERS[category],
                _PHASE_NUMBERS[phase],
                cuda_index,
                stream,
                owner,
                site,
                what,
                requested_bytes,
            )

    def freed(self, block: int) -> None:
        """The block of this number was freed."""
        if self._window is not None and (at := self._reserve(FREED.size)) >= 0:
            FREED.pack_into(self._window, at, Entry.FREED, block)

    def categorised(self, block: int, category: Category, module: str | None) -> None:
        """The block of this number has another category, or belongs to another module."""
        if self._window is None:
            return
        owner = self._numbers.get(module)
        if owner is None:
            owner = self._number(module, module)
        if (at := self._reserve(CATEGORISED.size)) >= 0:
            CATEGORISED.pack_into(self._window, at, Entry.CATEGORISED, _CATEGORY_NUMBERS[category], block, owner)

    def called(self, issued: IssuedCall) -> None:
        """A communication call was issued, the next one."""
        if self._window is None:
            return
        call, numbers = issued.call, self._numbers
        transfer = *_values_of_call(call), self._group(call.group_ranks, call.group_description, call.process_group)
        what = numbers.get(transfer)
        if what is None:
            what = self._number(transfer, transfer)
        owner = numbers.get(issued.module)
        if owner is None:
            owner = self._number(issued.module, issued.module)
        site = numbers.get(id(issued.call_site))
        if site is None:
            site = self._number_site(id(issued.call_site), issued.call_site)
        phase = _PHASE_NUMBERS[issued.phase]
        coalesced = NONE if issued.coalesced is None else issued.coalesced
        device = NONE if issued.device is None else issued.device
        if (at := self._reserve(CALL.size)) >= 0:
            CALL.pack_into(self._window, at, Entry.CALL, what, phase, owner, site, issued.optimizer_steps, coalesced, device)

    def optimizer_stepped(self) -> None:
        """An optimizer step was taken."""
        if self._window is not None and (at := self._reserve(OPTIMIZER_STEP.size)) >= 0:
            OPTIMIZER_STEP.pack_into(self._window, at, Entry.OPTIMIZER_STEP)

    def training_steps(self, ends: tuple[int, ...]) -> None:
        """The ends of the training steps as they are known now: mostly one more than before."""
        last, self._ends = self._ends, ends
        if ends and ends[:-1] == last:
            self.event(Event.STEP_ENDED, ends[-1])
        elif ends != last:
            self.event(Event.TRAINING_STEPS, ends)

    def waited(self, call: int) -> None:
        """The script waited for the call of this number."""
        if self._window is not None and (at := self._reserve(WAITED.size)) >= 0:
            WAITED.pack_into(self._window, at, Entry.WAITED, call)

    def _group(self, ranks: tuple[int, ...], description: str, process_group: str) -> int:
        """The number of a process group, which is written down when it is new."""
        known = self._groups.get((process_group, description))
        if known is not None and known[1] == ranks:
            return known[0]
        number = len(self._groups)
        self._groups[process_group, description] = number, ranks
        self.event(Event.GROUP, ranks, description, process_group)
        return number

    def event(self, kind: Event, *values: object) -> None:
        """Write down something rare."""
        if self._window is not None:
            self._write(Entry.EVENT, pickle.dumps((int(kind), *values), pickle.HIGHEST_PROTOCOL))

    # -- room ------------------------------------------------------------------------------------------------------------------------

    def _number_site(self, key: int, site: CallSite | None) -> int:
        if site is not None:
            self._kept.append(site)
        return self._number(key, site)

    def _number(self, key: object, value: object) -> int:
        number = self._numbers[key] = len(self._numbers)
        self._write(Entry.NUMBERED, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
        return number

    def _write(self, kind: Entry, data: bytes) -> None:
        at = self._reserve(PICKLED.size + len(data))
        if at >= 0 and self._window is not None:
            self._window[at + PICKLED.size : at + PICKLED.size + len(data)] = data
            PICKLED.pack_into(self._window, at, kind, len(data))

    def _reserve(self, size: int) -> int:
        """Where to write an entry of that size; -1 if there is no room and the journal is given up."""
        at = self._at
        if at + size >= self._room_until:
            return self._reserve_in_next_window(size)
        self._at = at + size
        return at

    def _reserve_in_next_window(self, size: int) -> int:
        window, at = self._window, self._at
        if window is None:
            return -1
        needed = size + WINDOW.size + 1
        try:
            self._open_window(max(WINDOW_BYTES, -(-needed // mmap.PAGESIZE) * mmap.PAGESIZE))
        except OSError:
            window[at] = Entry.ABANDONED
            self._stop()
            return -1
        window[at] = Entry.NEXT_WINDOW
        window.close()
        at = self._at
        self._at = at + size
        return at

    def _open_window(self, size: int) -> None:
        """Map the next part of the file. It is allocated first: a page for which there is no room on the disk would kill the process."""
        os.posix_fallocate(self._descriptor, self._file_bytes, size)
        self._window = mmap.mmap(self._descriptor, size, offset=self._file_bytes)
        self._file_bytes += size
        WINDOW.pack_into(self._window, 0, size)
        self._at, self._room_until = WINDOW.size, size  # the last byte stays for the entry that ends the window

    def _stop(self) -> None:
        self._window = None


NO_JOURNAL = Journal()
"""That of a rank which is simulated in a process that goes on."""
