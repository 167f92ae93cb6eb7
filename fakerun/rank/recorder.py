"""The rank's record: written once, however the rank ends, and never by a child that the script forked."""

import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from fakerun.call_site import CallSite
from fakerun.files import write_whole
from fakerun.rank.script_outcome import internal_failure
from fakerun.records.position import RankPosition
from fakerun.records.run import Ending, ProcessFailure, RankRecord
from fakerun.records.store import RecordStore

_UNDISTURBED_S = 1.0
"""How long a record may be put together before other threads get a turn; it takes milliseconds."""


class RecordSource(Protocol):
    """The simulation, as far as its record is concerned."""

    def record(self, ending: Ending) -> RankRecord: ...

    def position(self, call_site: CallSite | None) -> RankPosition: ...


class Recorder:
    """Writes the record of `rank` to `store`, in the process that made this object only.

    A rank may end in several ways at once: the script ends, a thread calls `os._exit`, the launcher requests it. The first one writes;
    the others wait for it and find it done.
    """

    def __init__(self, rank: int, store: RecordStore) -> None:
        self.directory = store.directory(rank)
        self._store = store
        self._rank = rank
        self.before_record: Callable[[], None] = lambda: None
        """Is called once, before the record is written: what else is to be kept in the directory."""
        self._source: RecordSource | None = None
        self._process = os.getpid()
        self._lock = threading.RLock()  # re-entrant: a signal handler of the script's may call os._exit while we write
        self._done = False

    @property
    def in_own_process(self) -> bool:
        """False in a child that the script forked."""
        return os.getpid() == self._process

    def observe(self, source: RecordSource) -> None:
        """From now on there is a simulation to ask."""
        self._source = source

    def write(self, ending: Ending) -> None:
        """Write the record, unless that was done."""
        with self._lock:
            if self._done or not self.in_own_process:
                return
            with _files_unlimited():
                with suppress(Exception):  # the record is what counts
                    self.before_record()
                try:
                    self._store.write(self._record(ending))
                except OSError:
                    raise
                except Exception as error:  # a poorer record is better than none
                    self._store.write(RankRecord(rank=self._rank, failure=internal_failure(error)))
            self._done = True  # not before: what interrupts the writing and ends the process still has to leave a record

    def position(self, call_site: CallSite | None) -> RankPosition:
        """Where the rank is, its main thread being at `call_site`."""
        return RankPosition(steps=0, events=0, call_site=call_site) if self._source is None else self._source.position(call_site)

    def keep(self, name: str, text: str) -> None:
        """Write a file for people beside the record."""
        write_whole(self.directory / name, text.encode(errors="backslashreplace"))

    def _record(self, ending: Ending) -> RankRecord:
        if self._source is None:
            return RankRecord(rank=self._rank, failure=ending if isinstance(ending, ProcessFailure) else None)
        with undisturbed():
            return self._source.record(ending)


@contextmanager
def _files_unlimited() -> Iterator[None]:
    """The limit on the size of files is the script's own, as far as it can be lifted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the script's threads from running. Not for long: they must get on when it takes longer."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_UNDISTURBED_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
