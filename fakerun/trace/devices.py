"""The CUDA devices that the rank uses, numbered in the order of their first use."""


class DeviceOrdinals(dict[int, int]):
    """`ordinals[index]` is the ordinal of a CUDA index, which counts as used from then on. Looked up for every allocation."""

    def __missing__(self, index: int) -> int:
        self[index] = ordinal = len(self)
        return ordinal
