"""The CUDA devices that the rank uses, numbered in the order of their first use."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class DeviceOrdinals(dict[int, int]):
    """`ordinals[index]` is the ordinal of a CUDA index, which counts as used from then on. Looked up for every allocation.

    The listeners `first_used` are called with the index when a device is used for the first time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first_used: list[Callable[[int], None]] = []

    def __missing__(self, index: int) -> int:
        self[index] = ordinal = len(self)
        for listener in self.first_used:
            listener(index)
        return ordinal
