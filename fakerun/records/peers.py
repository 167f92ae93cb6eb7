"""What passes between the ranks of a run: the values that they exchange, where values are known. Neither torch nor processes in here."""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol, TypeAlias


class Silence(Enum):
    """Why a rank did not say what another waited for."""

    UNKNOWN = "it does not know the values itself"
    ENDED = "it ended before"
    ABSENT = "not simulated"
    STALLED = "all ranks waited for each other"
    NO_ROOM = "there is no memory for more ranks at a time"


Answer: TypeAlias = bytes | Silence


class Peers(Protocol):
    """The other ranks, as one rank reaches them."""

    def publish(self, key: str, data: Answer) -> None:
        """Say `data` to whoever asks for `key` of this rank. Returns at once; that it is unknown may be said later, with other words."""

    def say_all(self) -> None:
        """Say what was put off."""

    def fetch(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        """What the ranks say under the keys, in the order asked; waits for them."""
