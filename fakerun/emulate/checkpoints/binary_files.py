"""Files that a script opens to write bytes: emptied when the first byte is written, and not at all for a checkpoint without values.

`torch.save` into an open file, and code that saves into memory and writes the bytes itself, would otherwise empty the user's checkpoint on
the way to a save that is skipped.
"""

import io
import os
from typing import TYPE_CHECKING, Any

from fakerun.emulate.checkpoints.overlay import Overlay
from fakerun.emulate.checkpoints.unwritten import MARK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Buffer


class BinaryFile(io.BufferedWriter):
    """What `open(path, "wb")` gives: as Python's own, but that it is emptied later, or never."""

    def __init__(self, overlay: Overlay, path: str) -> None:
        self._overlay = overlay
        self._place = overlay.place(path)
        self._is_settled = False
        self._stand_in: bytearray | None = None
        super().__init__(io.FileIO(path, "wb", opener=lambda path, flags: overlay.open(path, flags & ~os.O_TRUNC)))

    def become(self, stand_in: bytes) -> None:
        """Leave a stand-in at the path, and the file as it is."""
        self._stand_in = bytearray(stand_in)
        self._is_settled = True

    def write(self, data: "Buffer", /) -> int:
        view = memoryview(data)
        if not self._is_settled and bytes(view[: len(MARK)]) == MARK:
            self.become(b"")
        if self._stand_in is not None:
            self._stand_in += view
            return view.nbytes
        self._settle()
        return super().write(data)

    def writelines(self, lines: "Iterable[Buffer]", /) -> None:
        for line in lines:
            self.write(line)

    def seek(self, *args: int) -> int:
        if self._stand_in is not None:
            return len(self._stand_in)
        self._settle()
        return super().seek(*args)

    def tell(self) -> int:
        return super().tell() if self._stand_in is None else len(self._stand_in)

    def truncate(self, *args: Any) -> int:
        self._settle()
        return super().truncate(*args)

    def fileno(self) -> int:
        self._settle()
        return super().fileno()

    def detach(self) -> io.RawIOBase:
        self._settle()
        return super().detach()

    def close(self) -> None:
        if not self.closed:
            self._settle()
            written = None if self._stand_in is None else super().tell()
            super().close()
            if self._stand_in is not None and written is not None:
                self._leave(bytes(self._stand_in), most_bytes=written)

    def _settle(self) -> None:
        """From now on it is an ordinary file, if it is not one of a stand-in."""
        if not self._is_settled:
            self._is_settled = True
            os.ftruncate(super().fileno(), 0)

    def _leave(self, stand_in: bytes, *, most_bytes: int) -> None:
        content = self._overlay.new_stand_in()
        with self._overlay.real():
            content.write_bytes(stand_in)
        self._overlay.remove_what_is_left(self._place, most_bytes=most_bytes)
        self._overlay.stand_in(self._place, content)
