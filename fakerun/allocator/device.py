"""DeviceMemory: how much memory the device can give the allocator, and at which addresses. All sizes in bytes."""

_LAST_ADDRESS = 0x7F00_0000_0000
"""Below which addresses are on Linux, about."""

_CHUNK_BYTES = 32 * 2**20
"""The driver takes addresses in multiples of this, below those that it has, and fills the lowest gap first.

Seen in the addresses of segments on an H200 (driver 580, `scripts/dev/gpu/programs.py`). It matters where free blocks of equal size are in
several segments: the one with the lowest address is taken, which is mostly the one that was reserved last.
"""


class DeviceMemory:
    """The device's memory as the allocator sees it.

    `total_bytes` is what the device has; `capacity_bytes` what it can give this allocator, everything that others hold subtracted, or
    None if it never runs out. `given_bytes` is what it gave and did not get back.
    """

    def __init__(self, total_bytes: int, capacity_bytes: int | None) -> None:
        self.total_bytes = total_bytes
        self.capacity_bytes = capacity_bytes
        self.given_bytes = 0
        self._lowest_address = _LAST_ADDRESS
        self._gaps: list[tuple[int, int]] = []
        """Address and bytes of what is left of chunks, by address."""

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
        for index, (address, free_bytes) in enumerate(self._gaps):
            if free_bytes >= nbytes:
                self._gaps[index : index + 1] = _gap(address + nbytes, free_bytes - nbytes)
                return address
        chunk_bytes = -(-nbytes // _CHUNK_BYTES) * _CHUNK_BYTES
        self._lowest_address -= chunk_bytes
        self._gaps[:0] = _gap(self._lowest_address + nbytes, chunk_bytes - nbytes)
        return self._lowest_address


def _gap(address: int, nbytes: int) -> list[tuple[int, int]]:
    return [(address, nbytes)] if nbytes else []
