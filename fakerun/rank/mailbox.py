"""The mailbox of a rank process: `records.mailbox.Mailbox` over the rank's connection to the launcher."""

import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

from fakerun.records.mailbox import Answer, Unavailable
from fakerun.records.position import RankPosition

_BUFFER_SIZE = 256


class NoPeers:
    """The mailbox of a rank that is simulated alone."""

    directory = None

    def publish(self, key: str, data: Answer) -> None:
        """Do nothing: no other rank will fetch it."""

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def fetch(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        return [Unavailable.NOT_SIMULATED] * len(wanted)

    def wait(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        return [Unavailable.NOT_SIMULATED] * len(wanted)

    def block(self, call: int, waits_for: Sequence[int]) -> NoReturn:
        raise AssertionError(f"call {call}: a rank that is simulated alone waits for ranks {waits_for}")


NO_PEERS = NoPeers()


class ConnectedMailbox:
    """Sends and fetches in the process that made this object; in a child that the script forked it reaches no other rank.

    A rank publishes `Unavailable.UNKNOWN` for nearly every call. Each message wakes the launcher, which costs more than the call itself, so
    these are buffered and sent some hundred at a time, and always before any other message.
    """

    block: Callable[[int, Sequence[int]], NoReturn]
    """As in `Mailbox`. Set before the script runs."""

    def __init__(self, descriptor: int, directory: Path) -> None:
        self.directory = directory
        os.set_inheritable(descriptor, False)
        self._connection = Connection(descriptor)
        self._process = os.getpid()
        self._unknown: list[str] = []
        self._lock = threading.Lock()  # at its time limit the rank ends in another thread

    def publish(self, key: str, data: Answer) -> None:
        if os.getpid() != self._process:
            return
        with self._lock:
            if data is Unavailable.UNKNOWN:
                self._unknown.append(key)
                if len(self._unknown) >= _BUFFER_SIZE:
                    self._send_unknown()
            else:
                self._send_unknown()
                self._connection.send(("publish", key, data))

    def flush(self) -> None:
        if os.getpid() == self._process:
            with self._lock:
                self._send_unknown()

    def fetch(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        return self._answers("fetch", wanted)

    def wait(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        return self._answers("wait", wanted)

    def _answers(self, message: str, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        if os.getpid() != self._process:
            return [Unavailable.NOT_SIMULATED] * len(wanted)
        with self._lock:
            self._send_unknown()
            self._connection.send((message, tuple(wanted)))
        answers: list[Answer] = self._connection.recv()
        return answers

    def send_position(self, position: RankPosition) -> None:
        """Tell the launcher where the rank is; in the process that made this object only."""
        with self._lock:
            self._connection.send(("position", position))

    def _send_unknown(self) -> None:
        if self._unknown:
            self._connection.send(("unknown", tuple(self._unknown)))
            self._unknown.clear()
