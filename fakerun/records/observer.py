"""What passes between `emulate`, which makes things happen, and `trace`, which watches. Neither imports the other."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from fakerun.records.collective import CommunicationCall
from fakerun.records.finding import Severity

Tensor: TypeAlias = Any
"""A torch.Tensor; this room is torch-free."""


class OperationObserver(Protocol):
    """Told of device work after it was executed."""

    def tensors_made(self, tensors: Sequence[Tensor]) -> None:
        """Device tensors that an operation returned: new storages, views and in-place results alike."""

    def communicated(self, call: CommunicationCall, buffers: Sequence[Tensor]) -> None:
        """A communication call was issued; `buffers` are the tensors it reads and writes."""


class FindingSink(Protocol):
    """Takes what the emulation has to say to the user; one finding per code and call site."""

    def note(self, code: str, message: str, *, hint: str | None = None, severity: Severity = Severity.NOTE) -> None: ...


class MemoryStatistics(Protocol):
    """The simulated allocator's counters, in bytes, per device index."""

    def allocated_bytes(self, device: int) -> int: ...

    def peak_allocated_bytes(self, device: int) -> int: ...

    def reset_peak(self, device: int) -> None: ...
