"""CUDA_VISIBLE_DEVICES as the script sets it. The value that fakerun inherits describes another machine and is ignored."""

import os

_VARIABLE = "CUDA_VISIBLE_DEVICES"


class VisibleDevices:
    """The devices of the node that the script leaves itself. Made before the script begins."""

    def __init__(self) -> None:
        self._inherited = os.environ.get(_VARIABLE)

    def count(self, installed: int) -> int:
        """How many of the `installed` accelerators are left."""
        listed = self._listed()
        return installed if listed is None else min(installed, len(listed))

    def index_on_node(self, index: int) -> int:
        """The node's number of the script's device `index`; the same if the variable does not name it by a number."""
        listed = self._listed()
        if listed is None or index >= len(listed) or not listed[index].isdecimal():
            return index
        return int(listed[index])

    def _listed(self) -> list[str] | None:
        listed = os.environ.get(_VARIABLE)
        if listed is None or listed == self._inherited:
            return None
        return [part.strip() for part in listed.split(",") if part.strip()]
