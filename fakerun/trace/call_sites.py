"""Finds the line of the user's file that is running. Called for every allocation, hence fast."""

import sys
from types import FrameType

from fakerun.call_site import CallSite, CallSiteResolver, Owner, owner

_USER, _INSTALLED, _PYTHON = Owner.USER, Owner.INSTALLED, Owner.PYTHON


class CallSiteFinder:
    """Remembers whose each file is, and the site of each line."""

    def __init__(self, resolver: CallSiteResolver) -> None:
        self._resolver = resolver
        # By file name: a string caches its hash, a code object does not.
        self._owners: dict[str, Owner] = {}
        self._sites: dict[tuple[str, int], CallSite] = {}

    def here(self) -> CallSite | None:
        """The site of the user's innermost frame; of an installed package's, where no frame is the user's; else None."""
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
                return self._site(frame)
            if whose is _INSTALLED and installed is None:
                installed = frame
            frame = frame.f_back
        return None if installed is None else self._site(installed)

    def running(self, frame: FrameType | None) -> tuple[FrameType, Owner] | None:
        """The innermost frame from this one on that is not of Python's own code, and whose it is."""
        while frame is not None:
            whose = self._owner(frame.f_code.co_filename)
            if whose is not _PYTHON:
                return frame, whose
            frame = frame.f_back
        return None

    def site(self, frame: FrameType) -> CallSite:
        """The site of the line that runs in the frame."""
        return self._site(frame)

    def _owner(self, filename: str) -> Owner:
        whose = self._owners.get(filename)
        if whose is None:
            whose = self._owners[filename] = owner(filename)
        return whose

    def _site(self, frame: FrameType) -> CallSite:
        key = (frame.f_code.co_filename, frame.f_lineno)
        site = self._sites.get(key)
        if site is None:
            site = self._sites[key] = self._resolver.site(*key, frame.f_code.co_qualname)
        return site
