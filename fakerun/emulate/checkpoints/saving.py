"""`torch.save` and `torch.load` of simulated tensors: no file of the user's is overwritten, and no placeholder values are written.

A save that would write unknown values is skipped, with a finding; the same run can load it again. Existing files are loaded as they are,
onto the simulated accelerator if they belong there.
"""

import contextlib
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from fakerun.emulate.checkpoints.unwritten import Relocation, UnwrittenFiles, UnwrittenObject, is_accelerator, path_of
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.unknown_values import UnknownValues
from fakerun.emulate.unsupported.gaps import MAP_LOCATION
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import apply_to_module, disable_all_modes, storage_id
from fakerun.units import format_bytes


@contextmanager
def simulated_saving(context: EmulationContext) -> Iterator[None]:
    """Replace `torch.save`, `torch.load` and the functions that move files, until the context ends."""
    saving = _Saving(context)
    with Patches() as patches:
        for module in (torch, torch.serialization):
            patches.set(module, "save", saving.save)
            patches.set(module, "load", saving.load)
        for name in ("rename", "replace"):
            patches.set(os, name, saving.moving(getattr(os, name)))
        for name in ("remove", "unlink"):
            patches.set(os, name, saving.removing(getattr(os, name)))
        patches.set(os, "mkdir", saving.making(os.mkdir))
        try:
            yield
        finally:
            saving.remove_empty_directories()


class _Saving:
    def __init__(self, context: EmulationContext) -> None:
        self._findings = context.findings
        self._values = context.part(UnknownValues)
        self._unwritten = UnwrittenFiles()
        self._written: set[str] = set()
        self._directories: list[str] = []  # that the script made, in order
        self._save, self._load = torch.save, torch.load

    def save(self, obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        """`torch.save`."""
        if isinstance(obj, (torch.UntypedStorage, torch.TypedStorage)):  # how Python pickles a tensor's bytes
            self._save(obj, f, *args, **kwargs)
            return
        unwritten = UnwrittenObject(obj)
        path = path_of(f)
        why = self._why_not(unwritten, path, f)
        if why is None:
            self._save(obj, f, *args, **kwargs)
            if path is not None:
                self._written.add(path)
                self._unwritten.drop(path)
            return
        if path is not None and isinstance(f, (str, os.PathLike)) and not Path(path).parent.is_dir():
            raise RuntimeError(f"Parent directory {Path(f).parent} does not exist.")  # torch's message
        self._unwritten.keep(f, unwritten)
        self._findings.note(FindingCode.NOT_SAVED, f"torch.save to {f if path else 'a file object'} was skipped: {why}.")

    def _why_not(self, unwritten: UnwrittenObject, path: str | None, f: Any) -> str | None:
        """Why this save is skipped, or None if it is not."""
        if unwritten.simulated_count:
            return (
                f"{unwritten.simulated_count} of its tensors ({format_bytes(unwritten.simulated_bytes)}) are simulated and have no values"
            )
        if path is None:
            return None
        if unwritten.floating_on_host and self._values.wrote_placeholders:
            return "its tensors may hold placeholders for unknown values"
        if isinstance(f, (str, os.PathLike)) and Path(path).exists() and path not in self._written:
            return "the file existed before the dry run"
        return None

    def load(self, f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`torch.load`."""
        relocate = _relocation(map_location)
        unwritten = self._unwritten.find(f)
        if unwritten is not None:
            return unwritten.load(relocate)
        saved_on: dict[int, tuple[torch.UntypedStorage, str]] = {}

        def to_host(storage: Any, location: str) -> Any:
            saved_on[storage_id(storage)] = (storage, location)
            return storage

        if isinstance(f, (str, os.PathLike)) and zipfile.is_zipfile(f):
            kwargs.setdefault("mmap", True)  # a large file need not be in memory
        with disable_all_modes():  # torch.load makes fake tensors when it sees a fake mode
            loaded = self._load(f, to_host, *args, **kwargs)

        def placed(tensor: torch.Tensor) -> torch.Tensor:
            _, location = saved_on.get(storage_id(tensor.untyped_storage()), (None, "cpu"))
            target = relocate(location)
            if not is_accelerator(target):
                return tensor
            moved = tensor.detach().to(target).requires_grad_(tensor.requires_grad)
            return torch.nn.Parameter(moved, moved.requires_grad) if isinstance(tensor, torch.nn.Parameter) else moved

        return _moved(loaded, placed)

    def moving(self, move: Callable[..., None]) -> Callable[..., None]:
        """`os.rename` or `os.replace`: scripts write a checkpoint to a temporary path and move it into place."""

        def moved(src: Any, dst: Any, **kwargs: Any) -> None:
            unwritten = self._unwritten.drop(src)
            if unwritten is None:
                move(src, dst, **kwargs)
            else:
                self._unwritten.keep(dst, unwritten)

        return moved

    def removing(self, remove: Callable[..., None]) -> Callable[..., None]:
        """`os.remove`: scripts keep the last few checkpoints."""

        def removed(path: Any, **kwargs: Any) -> None:
            if isinstance(path, int) or self._unwritten.drop(path) is None:
                remove(path, **kwargs)

        return removed

    def making(self, make: Callable[..., None]) -> Callable[..., None]:
        """`os.mkdir`, which all other functions that make directories call."""

        def made(path: Any, *args: Any, **kwargs: Any) -> None:
            make(path, *args, **kwargs)
            if (place := path_of(path)) is not None:
                self._directories.append(place)

        return made

    def remove_empty_directories(self) -> None:
        """Remove directories that the script made for files that were not written: the next real run would take one for a checkpoint."""
        for directory in reversed(self._directories):
            if self._unwritten.would_be_in(directory):
                with contextlib.suppress(OSError):  # it holds something, or is gone
                    Path(directory).rmdir()


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


def _relocation(map_location: Any) -> Relocation:
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
