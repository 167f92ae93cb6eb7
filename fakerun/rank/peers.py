"""The other ranks, reached through fakerun: what `records.peers.Peers` promises, over the rank's connection to the pool."""

import os
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from fakerun.records.peers import Answer, Silence

_MOST_PUT_OFF = 256


class Alone:
    """Nobody else is there."""

    def publish(self, key: str, data: Answer) -> None:
        """To nobody."""

    def say_all(self) -> None:
        """There is nothing to say."""

    def fetch(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        return [Silence.ABSENT] * len(wanted)


ALONE = Alone()


class ConnectedPeers:
    """Sends to and asks fakerun, in the process that made this object; a child that the script forked reaches nobody.

    A rank says of nearly every call that its values are unknown. Each word wakes fakerun, which costs more than the call: these are said
    some hundred at a time, and all of them before the rank says anything else or waits itself.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._connection = Connection(descriptor)
        self._process = os.getpid()
        self._unknown: list[str] = []
        self._turn = threading.Lock()  # at its time limit the rank ends in another thread

    def publish(self, key: str, data: Answer) -> None:
        if os.getpid() != self._process:
            return
        with self._turn:
            if data is Silence.UNKNOWN:
                self._unknown.append(key)
                if len(self._unknown) >= _MOST_PUT_OFF:
                    self._say_unknown()
            else:
                self._say_unknown()
                self._connection.send(("publish", key, data))

    def say_all(self) -> None:
        if os.getpid() == self._process:
            with self._turn:
                self._say_unknown()

    def fetch(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        if os.getpid() != self._process:
            return [Silence.ABSENT] * len(wanted)
        with self._turn:
            self._say_unknown()
            self._connection.send(("want", tuple(wanted)))
        answers: list[Answer] = self._connection.recv()
        return answers

    def _say_unknown(self) -> None:
        if self._unknown:
            self._connection.send(("unknown", tuple(self._unknown)))
            self._unknown.clear()
