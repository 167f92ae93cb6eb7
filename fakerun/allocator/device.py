"""DeviceMemory: how much memory the device can give the allocator, and at which addresses. All sizes in bytes."""

_FIRST_ADDRESS = 0x7F00_0000_0000
"""Where addresses begin on Linux, about; no rule depends on it."""


class DeviceMemory:
    """The device's memory as the allocator sees it.

    `total_bytes` is what the device has; `capacity_bytes` what it can give this allocator, everything that others hold subtracted, or
    None if it never runs out. `given_bytes` is what it gave and did not get back.
    """

    def __init__(self, total_bytes: int, capacity_bytes: int | None) -> None:
        self.total_bytes = total_bytes
        self.capacity_bytes = capacity_bytes
        self.given_bytes = 0
        self._next_address = _FIRST_ADDRESS

    @property
    def free_bytes(self) -> int:
        """As cudaMemGetInfo says."""
        return max(0, (self.total_bytes if self.capacity_bytes is None else self.capacity_bytes) - self.given_bytes)

    def give(self, nbytes: int) -> bool:
        """Whether it had so much; it is given then."""
        if self.capacity_bytes is not None and self.given_bytes + nbytes > self.capacity_bytes:
            return False
        self.given_bytes += nbytes
        return True

    def take_back(self, nbytes: int) -> None:
        self.given_bytes -= nbytes

    def reserve_addresses(self, nbytes: int) -> int:
        """The first of a range of addresses that nothing else has, ever."""
        address = self._next_address
        self._next_address += nbytes
        return address
