"""`torch.save` and `torch.load` of simulated tensors: no file of the user's is overwritten, and no placeholder values are written.

A save that would write unknown values is skipped, with a finding, and leaves a stand-in that the ranks of the job can load. Existing files
are loaded as they are, onto the simulated accelerator if they belong there.
"""

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from fakerun.emulate.call_progress import Peers
from fakerun.emulate.checkpoints.binary_files import BinaryFile
from fakerun.emulate.checkpoints.file_functions import make_parent_real, named
from fakerun.emulate.checkpoints.overlay import Overlay, not_found
from fakerun.emulate.checkpoints.unwritten import LARGEST_VALUES, MARK, Relocation, UnwrittenObject, is_accelerator
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.unknown_values import UnknownValues
from fakerun.emulate.unsupported.gaps import MAP_LOCATION
from fakerun.errors import as_script_error
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.records.unwritten_files import Change
from fakerun.torch_private import apply_to_module, disable_all_modes, storage_id
from fakerun.units import format_bytes


@contextmanager
def simulated_saving(context: EmulationContext) -> Iterator[None]:
    """Replace `torch.save` and `torch.load`, until the context ends."""
    saving = context.part(Saving)
    with Patches() as patches:
        for module in (torch, torch.serialization):
            patches.set(module, "save", saving.save)
            patches.set(module, "load", saving.load)
        yield


class Saving:
    """What is saved and loaded, in torch's format or another one."""

    def __init__(self, context: EmulationContext) -> None:
        self._findings = context.findings
        self._values = context.part(UnknownValues)
        self._overlay = context.part(Overlay)
        self._save, self._load = torch.save, torch.load

    def save(self, obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        """`torch.save`."""
        if isinstance(obj, (torch.UntypedStorage, torch.TypedStorage)):  # how Python pickles a tensor's bytes
            self._save(obj, f, *args, **kwargs)
            return
        self.put(UnwrittenObject(obj), f, "torch.save", lambda target: self._save(obj, target, *args, **kwargs))

    def put(self, unwritten: UnwrittenObject, f: Any, function: str, save: Callable[[Any], None]) -> None:
        """`save` the object to a path or an open file, or leave a stand-in there; `function` is what the script called."""
        path = _path_of(f)
        why = self._why_not(unwritten, path, is_open=named(f) is None)
        if why is None:
            self._save_really(f, save)
            return
        if named(f) is not None and path is not None and not self._overlay.can_hold(path):
            raise as_script_error(RuntimeError(f"Parent directory {Path(path).parent} does not exist."))  # torch's message
        self._stand_in(unwritten, path, f)
        self._findings.note(
            FindingCode.NOT_SAVED,
            f"{function} to {path or 'a file object'} was skipped: {why}. The ranks of this run load a stand-in without these values.",
        )
        if unwritten.dropped_count:
            self._findings.note(
                FindingCode.NOT_SAVED,
                f"the stand-in for {path or 'a file object'} holds shapes only of {unwritten.dropped_count} host tensors above "
                f"{format_bytes(LARGEST_VALUES)}: what is loaded from it has no values.",
                subject="shapes only",
            )

    def _save_really(self, f: Any, save: Callable[[Any], None]) -> None:
        path = named(f)
        if path is None:
            save(f)
            return
        make_parent_real(self._overlay, path)
        place = self._overlay.place(path)
        with suppress(OSError):  # which the save reports
            os.close(self._overlay.open(place, os.O_WRONLY | os.O_CREAT))  # so that the file is known to be the script's
        with self._overlay.real():
            save(place)
        self._overlay.change(place, Change.REAL)

    def _stand_in(self, unwritten: UnwrittenObject, path: str | None, f: Any) -> None:
        """Leave a stand-in at the path, or in the object that the script would write to."""
        if isinstance(f, BinaryFile):
            f.become(unwritten.encode())
            return
        if path is None:
            f.write(unwritten.encode())
            return
        content = self._overlay.new_stand_in()
        with self._overlay.real():
            content.write_bytes(unwritten.encode())
        self._overlay.stand_in(path, content)

    def _why_not(self, unwritten: UnwrittenObject, path: str | None, *, is_open: bool) -> str | None:
        """Why this save is skipped, or None if it is not."""
        if unwritten.simulated_count:
            return (
                f"{unwritten.simulated_count} of its tensors ({format_bytes(unwritten.simulated_bytes)}) are simulated and have no values"
            )
        if path is None:
            return None
        if unwritten.floating_on_host and self._values.wrote_placeholders:
            return "its tensors may hold placeholders for unknown values"
        if not is_open and self._overlay.is_the_users(self._overlay.place(path)):
            return "the file existed before the dry run"
        return None

    def load(self, f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`torch.load`."""
        relocate = relocation(map_location)
        path = named(f)
        source, stand_in = self.get(f)
        if stand_in is not None:
            return UnwrittenObject.decode(stand_in).load(relocate)
        saved_on: dict[int, tuple[torch.UntypedStorage, str]] = {}

        def to_host(storage: Any, location: str) -> Any:
            saved_on[storage_id(storage)] = (storage, location)
            return storage

        with self._overlay.real(), disable_all_modes():  # torch.load makes fake tensors when it sees a fake mode
            if path is not None and zipfile.is_zipfile(source):
                kwargs.setdefault("mmap", True)  # a large file need not be in memory
            loaded = self._load(source, to_host, *args, **kwargs)

        def placed(tensor: torch.Tensor) -> torch.Tensor:
            _, location = saved_on.get(storage_id(tensor.untyped_storage()), (None, "cpu"))
            target = relocate(location)
            if not is_accelerator(target):
                return tensor
            moved = tensor.detach().to(target).requires_grad_(tensor.requires_grad)
            return torch.nn.Parameter(moved, moved.requires_grad) if isinstance(tensor, torch.nn.Parameter) else moved

        return _moved(loaded, placed)

    def get(self, f: Any) -> tuple[Any, bytes | None]:
        """What to read for a path or an open file, and the stand-in that is there, if there is one."""
        path = named(f)
        source = f if path is None else self._source(path)
        return source, self._stand_in_of(source)

    def _source(self, path: str) -> str:
        """The file to read for `path`: what a peer has saved there, though a file was there before, comes first."""
        self._overlay.refresh(Peers.SIMULATED)
        entry = self._overlay.entry(path)
        if (entry is None and self._overlay.has_no_real(self._overlay.place(path))) or (entry and entry.change is Change.REMOVED):
            self._overlay.look_again(path, fails=True)
            entry = self._overlay.entry(path)
        if entry is None:
            return path
        if entry.change is not Change.STAND_IN:
            raise not_found(path)
        return entry.target

    def _stand_in_of(self, source: Any) -> bytes | None:
        """The stand-in at the path or in the open file, from where it is; None if there is none."""
        with self._overlay.real():
            if isinstance(source, str):
                if not Path(source).is_file():
                    return None
                with Path(source).open("rb") as file:
                    return file.read() if file.read(len(MARK)) == MARK else None
            if not all(hasattr(source, name) for name in ("read", "seek", "tell")):
                return None
            begin = source.tell()
            if source.read(len(MARK)) == MARK:
                return source.read()  # type: ignore[no-any-return]
            source.seek(begin)
            return None


def _path_of(target: Any) -> str | None:
    """The path that a file argument names; None for what holds the bytes itself."""
    if named(target) is not None:
        return named(target)
    opened = getattr(target, "file", target)  # what tempfile makes
    is_file = isinstance(opened, (io.BufferedWriter, io.BufferedRandom, io.FileIO)) and isinstance(opened.name, str)
    return os.path.abspath(opened.name) if is_file else None  # noqa: PTH100  links that only the script sees stay


def _moved(obj: Any, placed: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A loaded object with its tensors on their devices; containers and modules keep their identity where possible."""
    if isinstance(obj, torch.Tensor):
        return placed(obj)
    if isinstance(obj, dict):
        for key, value in obj.items():
            obj[key] = _moved(value, placed)
        return obj
    if isinstance(obj, list):
        obj[:] = [_moved(value, placed) for value in obj]
        return obj
    if type(obj) is tuple:
        return tuple(_moved(value, placed) for value in obj)
    if isinstance(obj, torch.nn.Module):
        return apply_to_module(obj, placed)
    return obj


def relocation(map_location: Any) -> Relocation:
    """`map_location` in all its forms."""
    if map_location is None:
        return lambda location: location
    if isinstance(map_location, dict):
        return lambda location: str(map_location.get(location, location))
    if isinstance(map_location, (str, torch.device)):
        return lambda location: str(map_location)

    def asked(location: str) -> str:
        probe = torch.UntypedStorage(0)
        try:
            answer = map_location(probe, location)
        except Exception as error:
            raise MAP_LOCATION.error() from error
        return location if answer is None else "cpu"

    return asked
