"""Finds the line in the user's file that the program is at: asked for at every allocation, hence quick."""

import sys
from types import CodeType, FrameType

from fakerun.places import Owner, Places, owner


class CallSites:
    """Remembers, by code object, whose each frame is, and how each line is called. What the rule is, `fakerun.places` knows."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._owners: dict[CodeType, Owner] = {}
        self._names: dict[tuple[CodeType, int], str] = {}

    def here(self) -> str | None:
        """`file:line` of the user's innermost frame; of an installed package's, where no frame is the user's; else None."""
        frame: FrameType | None = sys._getframe(1)
        installed: FrameType | None = None
        owners = self._owners
        user = Owner.USER
        while frame is not None:
            code = frame.f_code
            whose = owners.get(code)
            if whose is None:
                whose = owners[code] = owner(code.co_filename)
            if whose is user:
                return self._name(frame)
            if installed is None and whose is Owner.INSTALLED:
                installed = frame
            frame = frame.f_back
        return None if installed is None else self._name(installed)

    def _name(self, frame: FrameType) -> str:
        key = (frame.f_code, frame.f_lineno)
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._places.name(frame.f_code.co_filename, frame.f_lineno)
        return name
