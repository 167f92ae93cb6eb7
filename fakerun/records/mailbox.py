"""Mailbox: how one rank publishes values to the other ranks of its job and fetches theirs. Free of torch and of processes."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import NoReturn, Protocol, TypeAlias


class Unavailable(Enum):
    """Why a value that a rank fetches is not available, as a clause about the rank that should have published it."""

    UNKNOWN = "it does not know the values either"
    NOT_SIMULATED = "it is not simulated"
    NEVER = "it never makes the call"
    STALLED = "all ranks were waiting for each other"
    """Only of a `wait`."""


Answer: TypeAlias = bytes | Unavailable


class Mailbox(Protocol):
    """The mailbox of one rank."""

    @property
    def directory(self) -> Path | None:
        """A directory that all ranks of the job see until the run is over; None for a rank that is simulated alone."""

    def publish(self, key: str, data: Answer) -> None:
        """Make `data` available to the other ranks under `key`. Returns at once; `Unavailable.UNKNOWN` may be buffered until `flush`."""

    def flush(self) -> None:
        """Send everything that is buffered."""

    def fetch(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        """What the given ranks published under the given keys, in the order of `wanted`; waits until all of it is available.

        A rank that waits for what is `Unavailable.NEVER` is blocked, in the call that needs it.
        """

    def block(self, call: int, waits_for: Sequence[int]) -> NoReturn:
        """End this rank: it waits for ever in the communication call of that number, which these ranks never make."""

    def wait(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        """As `fetch`, but no other rank answers for those that are not simulated: it is about what that very rank has done."""
