"""The files as the script of this rank sees them: what really is there, and over it what the ranks of the job believe to have written.

A change of a peer is seen once communication orders it before what this rank does, whenever the peer's process ran: the answer is the same
however many ranks run at a time. Nothing of this touches the user's directories.
"""

import errno
import inspect
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fakerun.emulate.call_progress import CallProgress, Peers
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.unsupported.gaps import FILE_OF_ANOTHER_RANK, FILE_WAITED_FOR
from fakerun.errors import as_script_error
from fakerun.records.finding_code import FindingCode
from fakerun.records.unwritten_files import Change, FileChange, UnwrittenFiles

_HIDING = frozenset({Change.STAND_IN, Change.LINK, Change.REMOVED})
_MOST_LINKS = 40  # Linux follows as many (path_resolution(7))
_MOST_LOOKS = 100
"""How often a script may look in vain for a file that nobody will write. It sleeps meanwhile, and might never stop."""

_FILE_MODULES = frozenset({"os", "posixpath", "genericpath", "pathlib", "glob", "shutil", "fnmatch", "io", "contextlib"})
"""Modules through which programs look at files. What others of the standard library and torch look for concerns no checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the overlay has for a path; `target` as in `FileChange`."""

    change: Change
    target: str


class Overlay:
    """What this rank sees of the job's changes; changes that it makes itself are seen at once."""

    def __init__(self, context: EmulationContext) -> None:
        self._rank = context.rank
        self._findings = context.findings
        self._mailbox = context.mailbox
        self._progress = context.part(CallProgress)
        self._inside = threading.local()
        self._lock = threading.RLock()  # scripts save in threads of their own
        self._own_directory = None if context.mailbox.directory is not None else Path(tempfile.mkdtemp(prefix="fakerun-"))
        self._store = UnwrittenFiles(context.mailbox.directory or self._own_directory or Path())
        self._run_directory = os.path.realpath(self._store.directory.parent) + os.sep
        if self._own_directory is not None:
            self._store.begin()
        self._store.begin_rank(self._rank)
        self._seen: dict[int, list[FileChange]] = {self._rank: []}
        self._entries: dict[str, Entry] = {}
        self._clock = 0
        self._newest_ns = 0
        self._looked_for: dict[str, tuple[int, int]] = {}
        self._slept = self._vain_looks = 0

    def close(self) -> None:
        """Remove what only this process knows of. What the ranks of a job share is removed with the run directory."""
        if self._own_directory is not None:
            self._store.remove_empty_directories()
            shutil.rmtree(self._own_directory, ignore_errors=True)

    @property
    def directory(self) -> Path:
        """A directory that is really there, for what is said of all directories."""
        return self._store.directory

    # -- looking -------------------------------------------------------------------------------------------------------------------

    @contextmanager
    def real(self) -> Iterator[None]:
        """In this thread, until the context ends, functions on files see and change what really is there."""
        self._inside.depth = getattr(self._inside, "depth", 0) + 1
        try:
            yield
        finally:
            self._inside.depth -= 1

    @property
    def is_real(self) -> bool:
        """Whether this thread is in `real`."""
        return bool(getattr(self._inside, "depth", 0))

    def place(self, path: str, *, follow: bool = True) -> str:
        """The path without links, real ones and the script's; the last component is a link only if it is not followed."""
        with self.real():
            path = os.path.abspath(path)  # noqa: PTH100  links that only the script sees come first
            for _ in range(_MOST_LINKS):
                parent, name = os.path.split(self._without_links(path))
                path = os.path.join(os.path.realpath(parent), name)  # noqa: PTH118
                entry = self._entries.get(path)
                if not follow or entry is None or entry.change is not Change.LINK:
                    break
                path = os.path.join(parent, entry.target)  # noqa: PTH118
            if follow and path not in self._entries and os.path.islink(path):  # noqa: PTH114
                path = os.path.realpath(path)
            return path

    def _without_links(self, path: str) -> str:
        """The path with the script's links among its parents followed."""
        links = [link for link, entry in tuple(self._entries.items()) if entry.change is Change.LINK]
        for _ in range(_MOST_LINKS):
            within = next((link for link in links if path.startswith(link + os.sep)), None)
            if within is None:
                break
            target = os.path.join(os.path.dirname(within), self._entries[within].target)  # noqa: PTH118, PTH120
            path = os.path.normpath(target + path[len(within) :])
        return path

    def entry(self, path: str, *, follow: bool = True) -> Entry | None:
        """What the overlay has for the path, None if what really is there counts."""
        return self._entries.get(self.place(path, follow=follow)) if self._entries else None

    def is_directory(self, path: str) -> bool:
        """Whether the path is a directory because of what lies in it, in the overlay."""
        return any(True for _ in self.below(path)) if self._entries else False

    def below(self, directory: str) -> Iterator[tuple[str, Entry]]:
        """What can be seen below the directory, with the path from it."""
        prefix = self.place(directory).rstrip(os.sep) + os.sep
        for path, entry in tuple(self._entries.items()):
            if path.startswith(prefix) and entry.change is not Change.REMOVED:
                yield path[len(prefix) :], entry

    def names_in(self, directory: str) -> Mapping[str, Entry | None]:
        """The names in the directory that the overlay changes; None for a directory."""
        if not self._entries:
            return {}
        prefix = self.place(directory).rstrip(os.sep) + os.sep
        names: dict[str, Entry | None] = {}
        for path, entry in tuple(self._entries.items()):
            if path.startswith(prefix):
                first, _, rest = path[len(prefix) :].partition(os.sep)
                if not rest:
                    names[first] = entry
                elif entry.change is not Change.REMOVED:
                    names.setdefault(first, None)
        return names

    def is_made(self, place: str) -> bool:
        """Whether this run made what really is there; anything else is the user's.

        All in the run directory is the run's: the launcher makes files there, too, which ranks replace before their script has ended.
        """
        with self.real():
            return place.startswith(self._run_directory) or self._store.made.is_made(place)

    def is_the_users(self, place: str) -> bool:
        """Whether something really is there that no rank of this run made."""
        return not self.is_made(place) and not self.has_no_real(place)

    def can_be_replaced(self, place: str) -> bool:
        """Whether nothing of the user's really is there."""
        with self.real():
            if os.path.isdir(place) and not os.path.islink(place) and os.listdir(place):  # noqa: PTH112, PTH114, PTH208
                return False
        return not self.is_the_users(place)

    def is_wholly_made(self, place: str) -> bool:
        """Whether this run made what really is there, and all that is below it."""
        with self.real():
            return place.startswith(self._run_directory) or self._store.made.is_wholly_made(place)

    def is_yet_to_be_made(self, directory: str) -> bool:
        """Whether a peer that has come further made this directory, which is really there, later than this rank looks for it."""
        if self.is_real:
            return False
        place = self.place(directory)
        with self.real():
            if not self._store.made.is_expected(place):
                return False
        if any(change.path == place for changes in self._seen.values() for change in changes if change.change is Change.DIRECTORY):
            return False
        with self.real():
            unseen = [(peer, change) for peer in self._store.ranks() for change in self._store.changes(peer, len(self._seen.get(peer, ())))]
        return any(
            change.order[0] > self._progress.of_all_ranks or self._progress.will_happen(peer, change.counts)
            for peer, change in unseen
            if change.path == place and change.change is Change.DIRECTORY
        )

    @property
    def has_peers(self) -> bool:
        """Whether any rank has changed something."""
        with self.real():
            return bool(self._store.ranks())

    def has_no_real(self, place: str) -> bool:
        """Whether nothing is really there."""
        with self.real():
            return not os.path.lexists(place)

    def has_no_parent(self, place: str) -> bool:
        """Whether a file cannot be made there."""
        parent = os.path.dirname(place)  # noqa: PTH120
        entry = self.entry(parent)
        with self.real():
            really = os.path.isdir(parent)  # noqa: PTH112
        return not (self.is_directory(parent) or (really and entry is None))

    def is_special(self, path: str) -> bool:
        """Whether something other than a file is really there: a device, a pipe."""
        with self.real():
            return os.path.exists(path) and not os.path.isfile(path)  # noqa: PTH110, PTH113

    def can_hold(self, path: str) -> bool:
        """Whether a file can be made at `path`, if need be because a peer has made its directory."""
        place = self.place(path)
        return not self.has_no_parent(place) or self.look_again(os.path.dirname(place), fails=True)  # noqa: PTH120

    # -- other ranks ---------------------------------------------------------------------------------------------------------------

    def look_again(self, path: str, *, fails: bool) -> bool:
        """Whether something is at `path` after all, which is not there as far as this rank knew: ask the peers.

        Without it the script's call `fails`.

        Raises:
            EmulationGapError: it is known to depend on ranks that are not simulated, or the script waits for it for ever.
        """
        if not self._asks():
            return False
        self.refresh(Peers.WRITERS if fails else Peers.ROOT)
        if self._is_there(path):
            return True
        place = self.place(path)
        if self._polls(place):
            return self._wait_for(place)
        if fails and self._is_of_another_rank(place):
            raise FILE_OF_ANOTHER_RANK.error(f"Reading {path}, which no simulated rank has saved,")
        return False

    def look_into(self, directory: str) -> None:
        """See what peers have put into a directory that the script lists."""
        if not self._asks():
            return
        self.refresh(Peers.ROOT)
        if self._polls(self.place(directory) + os.sep):
            self._wait_for_ends()
        stand_ins = any(entry is not None and entry.change is Change.STAND_IN for entry in self.names_in(directory).values())
        if stand_ins and self._progress.counts and not self._progress.is_complete:
            self._findings.note(
                FindingCode.PEERS_ASSUMED,
                "the script lists a directory with checkpoints of this run. The list lacks those of ranks that are not simulated.",
                hint="Simulate these ranks too (--ranks all, or a list), if they save there.",
            )

    def _polls(self, place: str) -> bool:
        """Whether the script has looked for this before, and has done nothing since but let time pass."""
        now = self._slept, sum(self._progress.counts.values())
        before = self._looked_for.get(place, now)
        self._looked_for[place] = now
        return before[0] < now[0] and before[1] == now[1]

    def refresh(self, which: Peers) -> None:
        """See what peers did before this rank's last calls with them."""
        if not self._asks():
            return
        with self.real():
            self._seen[self._rank] = list(self._store.changes(self._rank))  # its child processes write too
            for peer in self._progress.wait_for_peers(which):
                seen = self._seen.setdefault(peer, [])
                for change in self._store.changes(peer, len(seen)):
                    if not self._progress.happened(peer, change.counts):
                        break
                    seen.append(change)
                    self._clock = max(self._clock, change.order[1])
            self._rebuild()

    def slept(self) -> None:
        """The script has let time pass: if it looks again for what was not there, it waits for it."""
        if threading.current_thread() is threading.main_thread():
            self._slept += 1

    def _asks(self) -> bool:
        """Whether this is the script looking, or a library of its, in the only thread that may wait."""
        if self.is_real or threading.current_thread() is not threading.main_thread():
            return False
        name = _asking_module()
        package = name.partition(".")[0]
        if package in ("torch", "fakerun"):
            return name.startswith("torch.distributed.checkpoint")
        return package == "__main__" or package not in sys.stdlib_module_names

    def _wait_for(self, place: str) -> bool:
        """The script waits for a file that no call orders: see what the peers do until one of them writes it."""
        with self.real():
            for peer in self._progress.candidates():
                self._mailbox.wait([(peer, _key(place))])
                seen = self._seen.setdefault(peer, [])
                new = self._store.changes(peer, len(seen))
                writes = [index for index, change in enumerate(new) if change.path == place and change.change is not Change.REMOVED]
                if writes:
                    seen.extend(new[: writes[0] + 1])
                    self._rebuild()
                    break
        if self._is_there(place):
            self._vain_looks = 0
            return True
        self._count_vain_look(place)
        return False

    def _wait_for_ends(self) -> None:
        """The script waits for files in a directory, of which nobody knows the names: see all that the peers do."""
        before = dict(self._entries)
        with self.real():
            for peer in self._progress.candidates():
                self._mailbox.wait([(peer, "the end")])
                seen = self._seen.setdefault(peer, [])
                seen.extend(self._store.changes(peer, len(seen)))
            self._rebuild()
        if self._entries == before:
            self._count_vain_look("a file in a directory")

    def _count_vain_look(self, place: str) -> None:
        self._vain_looks += 1
        if self._vain_looks > _MOST_LOOKS:
            raise FILE_WAITED_FOR.error(f"Waiting for {place}")

    def _is_of_another_rank(self, place: str) -> bool:
        """Whether a rank that is not simulated probably wrote it: the ranks of this job write such files next to it."""
        is_known = any(change.path == place for changes in self._seen.values() for change in changes)
        if is_known or not self._progress.counts or self._progress.is_complete:
            return False
        directory = os.path.dirname(place)  # noqa: PTH120
        while directory != os.sep and not self._is_there(directory):
            directory = os.path.dirname(directory)  # noqa: PTH120
        beside = (Path(name).suffix for name, entry in self.names_in(directory).items() if entry and entry.change is Change.STAND_IN)
        return Path(place).suffix in {suffix for each in beside for suffix in (each, "")}

    def _is_there(self, path: str) -> bool:
        entry = self.entry(path)
        if entry is not None:
            return entry.change is not Change.REMOVED
        with self.real():
            really = os.path.lexists(path)
        return really or self.is_directory(path)

    # -- changing ------------------------------------------------------------------------------------------------------------------

    def new_stand_in(self) -> Path:
        """Where the content of one more stand-in goes."""
        with self.real():
            return self._store.new_stand_in(self._rank)

    def taken(self, place: str) -> Path:
        """The content of a file that the script made, which is no longer there then."""
        content = self.new_stand_in()
        with self.removing(place):
            shutil.move(place, content)
        return content

    def stand_in(self, path: str, content: Path) -> None:
        """From now on `path` reads as the file `content`."""
        with self.real():
            written_ns = content.stat().st_mtime_ns
            if written_ns <= self._newest_ns:  # scripts sort checkpoints by age; the clock of the file system is coarse
                written_ns = self._newest_ns + 1
                os.utime(content, ns=(written_ns, written_ns))
            self._newest_ns = written_ns
        self.change(self.place(path), Change.STAND_IN, str(content))

    def change(self, place: str, change: Change, target: str = "") -> None:
        """Make a change and publish it."""
        self._clock += 1
        made = FileChange(
            change=change,
            path=place,
            order=(self._progress.of_all_ranks, self._clock),
            counts=dict(self._progress.counts),
            target=target,
        )
        with self.real(), self._lock:
            self._store.append(self._rank, made)
            self._seen[self._rank].append(made)
            self._apply(made)
        if change is not Change.REMOVED:
            self._mailbox.publish(_key(place), b"written")

    def move(self, src: str, dst: str) -> None:
        """Everything at `src` and below is seen at `dst` from now on."""
        source, target = self.place(src, follow=False), self.place(dst, follow=False)
        moved = [(path, entry) for path, entry in self._entries.items() if path == source or path.startswith(source + os.sep)]
        for path, entry in moved:
            if path != source or entry.change is not Change.REMOVED:
                self.change(target + path[len(source) :], entry.change, entry.target)
            self.change(path, Change.REMOVED)
        for directory in self.made_below(source):
            self.change(target + directory[len(source) :], Change.DIRECTORY)

    def made_below(self, place: str) -> tuple[str, ...]:
        """The directories at `place` and below that the ranks made."""
        changes = (change for changes in self._seen.values() for change in changes if change.change is Change.DIRECTORY)
        return tuple({change.path: None for change in changes if (change.path + os.sep).startswith(place + os.sep)})

    def remove_what_is_left(self, place: str, *, most_bytes: int = 0) -> None:
        """Remove the file that the script opened to save into, and has removed or moved away.

        It has written no more than `most_bytes`: in a larger one another process has.
        """
        with self.real():
            if os.path.isfile(place) and os.path.getsize(place) <= most_bytes and self.is_made(place):  # noqa: PTH113, PTH202
                with self.removing(place):
                    os.unlink(place)  # noqa: PTH108

    def make_real(self, directory: str) -> None:
        """Make a directory that is there only because of what lies in it: the script writes there by other means."""
        with self.real():
            missing = []
            while not os.path.isdir(directory):  # noqa: PTH112
                missing.append(directory)
                directory = os.path.dirname(directory)  # noqa: PTH120
            for each in reversed(missing):
                self._store.made.expect(each)
                self.change(each, Change.DIRECTORY)  # first, so that no peer sees one whose maker is unknown
                os.mkdir(each)  # noqa: PTH102
                self._store.made.note(each)

    def open(self, path: str, flags: int, mode: int = 0o666) -> int:
        """As `os.open`; the file is the script's if this makes it."""
        with self.real():
            if flags & os.O_CREAT:
                with suppress(OSError):
                    descriptor = os.open(path, flags | os.O_EXCL, mode)
                    self._store.made.note(self.place(path, follow=False), descriptor)
                    return descriptor
            return os.open(path, flags, mode)

    @contextmanager
    def making(self, place: str) -> Iterator[None]:
        """What the script does in this context makes what is at `place`, or fails because something is there."""
        yield
        with self.real():
            self._store.made.note(place)

    def expect(self, place: str) -> None:
        """The directory is about to be made."""
        with self.real():
            self._store.made.expect(place)

    @contextmanager
    def removing(self, place: str) -> Iterator[None]:
        """What is at `place`, which the script made, is removed in this context, unless it raises."""
        with self.real(), self._store.made.removing(place):
            yield

    @contextmanager
    def moving(self, place: str, target: str) -> Iterator[None]:
        """What is at `place`, all of which the script made, is moved to `target` in this context, unless it raises."""
        with self.real(), self._store.made.moving(place, target):
            yield

    def _rebuild(self) -> None:
        """All changes that are seen, in the order of the calls; those that no call orders, in the order of the ranks."""
        with self._lock:
            ordered = sorted((change.order, rank, index) for rank, changes in self._seen.items() for index, change in enumerate(changes))
            self._entries.clear()
            for _, rank, index in ordered:
                self._apply(self._seen[rank][index])

    def _apply(self, change: FileChange) -> None:
        self._entries.pop(change.path, None)
        if change.change in _HIDING:
            self._entries[change.path] = Entry(change=change.change, target=change.target)


def not_found(path: object) -> FileNotFoundError:
    """What the system raises for a path without a file."""
    return as_script_error(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path))


def _key(place: str) -> str:
    return f"file {place}"


def _asking_module() -> str:
    """The module whose code looks for a file: not one of those that others look through."""
    frame = inspect.currentframe()
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in _FILE_MODULES and not name.startswith("fakerun.emulate.checkpoints."):
            return name
        frame = frame.f_back
    return ""
