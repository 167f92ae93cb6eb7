"""AllocatorOutOfMemoryError: the figures of a request that the device could not serve, and torch's message of them."""

from dataclasses import dataclass

_ADVICE = (
    " If reserved but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
    "  See documentation for Memory Management "
    " (https://docs.pytorch.org/docs/stable/notes/cuda.html#optimizing-memory-usage-with-pytorch-cuda-alloc-conf)"
)
"""As torch 2.11 and 2.14.1 say it."""


def format_size(nbytes: int) -> str:
    """As torch writes it: `2.00 MiB`; exactly 1024 of a unit are not yet one of the next (`format_size`, c10/cuda)."""
    for unit, size in (("bytes", 1), ("KiB", 1024), ("MiB", 1024**2)):
        if nbytes <= 1024 * size:
            return f"{nbytes / size:.2f} {unit}" if size > 1 else f"{nbytes} {unit}"
    return f"{nbytes / 1024**3:.2f} GiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemoryFigures:
    """All in bytes. `requested_bytes` is the segment that was asked for, as in torch's message, `size_bytes` the rounded request.

    `free_bytes` is what the device could still give, `allowed_bytes` the limit of a memory fraction. Of what PyTorch reserved,
    `allocated_bytes` is in use, `private_pool_bytes` cached in private pools, and `unallocated_bytes` the rest.
    """

    requested_bytes: int
    size_bytes: int
    total_bytes: int
    free_bytes: int
    allowed_bytes: int | None
    allocated_bytes: int
    private_pool_bytes: int
    reserved_bytes: int

    @property
    def unallocated_bytes(self) -> int:
        return self.reserved_bytes - self.allocated_bytes - self.private_pool_bytes


class AllocatorOutOfMemoryError(Exception):
    """A request is not served. `figures` is None if it was refused before anybody asked the device."""

    def __init__(self, figures: OutOfMemoryFigures | None, text: str = "") -> None:
        self.figures = figures
        self._text = text
        super().__init__(text or self.message())

    def message(self, device_index: int = 0, processes: str = "") -> str:
        """What torch.OutOfMemoryError says; `processes` is its sentences about who uses the device, each with a blank behind it."""
        figures = self.figures
        if figures is None:
            return self._text
        allowed = "" if figures.allowed_bytes is None else f"{format_size(figures.allowed_bytes)} allowed; "
        private = figures.private_pool_bytes
        return (
            f"CUDA out of memory. Tried to allocate {format_size(figures.requested_bytes)}. GPU {device_index} has a total capacity of "
            f"{format_size(figures.total_bytes)} of which {format_size(figures.free_bytes)} is free. {processes}{allowed}"
            f"Of the allocated memory {format_size(figures.allocated_bytes + private)} is allocated by PyTorch, "
            + (f"with {format_size(private)} allocated in private pools (e.g., CUDA Graphs), " if private else "")
            + f"and {format_size(figures.unallocated_bytes)} is reserved by PyTorch but unallocated.{_ADVICE}"
        )

    @classmethod
    def rejection(cls, requested_bytes: int, held_bytes: int, allowed_bytes: int, total_bytes: int) -> "AllocatorOutOfMemoryError":
        """Of `throw_on_cudamalloc_oom`: torch begins its message so (2.14.1); the rest of it was not seen."""
        return cls(
            None,
            "CUDA out of memory. Allocation was preemptively rejected because it would exceed per_process_memory_fraction limit. "
            f"Requested size: {format_size(requested_bytes)}. {format_size(held_bytes)} of the {format_size(allowed_bytes)} that are "
            f"allowed of {format_size(total_bytes)} are reserved.",
        )
