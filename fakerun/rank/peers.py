"""The other ranks, reached through fakerun: what `records.peers.Peers` promises, over the rank's connection to the pool."""

import os
from collections.abc import Sequence
from multiprocessing.connection import Connection

from fakerun.records.peers import Answer, Silence


class Alone:
    """Nobody else is there."""

    def publish(self, key: str, data: Answer) -> None:
        """To nobody."""

    def fetch(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        return [Silence.ABSENT] * len(wanted)


ALONE = Alone()


class ConnectedPeers:
    """Sends to and asks fakerun, in the process that made this object; a child that the script forked reaches nobody."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._connection = Connection(descriptor)
        self._process = os.getpid()

    def publish(self, key: str, data: Answer) -> None:
        if os.getpid() == self._process:
            self._connection.send(("publish", key, data))

    def fetch(self, wanted: Sequence[tuple[int, str]]) -> list[Answer]:
        if os.getpid() != self._process:
            return [Silence.ABSENT] * len(wanted)
        self._connection.send(("want", tuple(wanted)))
        answers: list[Answer] = self._connection.recv()
        return answers
