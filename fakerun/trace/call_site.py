"""Finds the line in the user's file that the program is at: asked for at every allocation, hence quick."""

import sys
from types import FrameType

from fakerun.places import Owner, Places, owner

_USER, _INSTALLED = Owner.USER, Owner.INSTALLED


class CallSites:
    """Remembers whose each file is, and how each line is called. What the rule is, `fakerun.places` knows."""

    def __init__(self, places: Places) -> None:
        self._places = places
        # By the name of the file: a string knows its hash, a code object works it out again each time.
        self._owners: dict[str, Owner] = {}
        self._names: dict[tuple[str, int], str] = {}

    def here(self) -> str | None:
        """`file:line` of the user's innermost frame; of an installed package's, where no frame is the user's; else None."""
        frame: FrameType | None = sys._getframe(1)
        installed: FrameType | None = None
        owners = self._owners
        user = _USER
        while frame is not None:
            filename = frame.f_code.co_filename
            whose = owners.get(filename)
            if whose is None:
                whose = owners[filename] = owner(filename)
            if whose is user:
                return self._name(frame)
            if whose is _INSTALLED and installed is None:
                installed = frame
            frame = frame.f_back
        return None if installed is None else self._name(installed)

    def _name(self, frame: FrameType) -> str:
        key = (frame.f_code.co_filename, frame.f_lineno)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._places.name(*key)
        return name
