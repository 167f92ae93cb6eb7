"""What a rank says to the others, as fakerun hears it: that values are unknown some hundred at a time, and before anything else."""

import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Pipe
from typing import Any

import pytest

from fakerun.rank.peers import ConnectedPeers
from fakerun.records.peers import Silence

UNKNOWN = Silence.UNKNOWN


@pytest.fixture
def line() -> Iterator[tuple[ConnectedPeers, Connection]]:
    """A rank's end, and fakerun's."""
    ours, theirs = Pipe()
    with ours:
        yield ConnectedPeers(os.dup(theirs.fileno())), ours
    theirs.close()


def ask(peers: ConnectedPeers, fakerun: Connection) -> None:
    fakerun.send([b"answer"])
    assert peers.fetch([(1, "wanted")]) == [b"answer"]


THEN: dict[str, tuple[Callable[[ConnectedPeers, Connection], None], list[Any]]] = {
    "nothing": (lambda peers, _: None, []),
    "a value": (lambda peers, _: peers.publish("c", b"3"), [("unknown", ("a", "b")), ("publish", "c", b"3")]),
    "a question": (ask, [("unknown", ("a", "b")), ("want", ((1, "wanted"),))]),
    "the end": (lambda peers, _: peers.say_all(), [("unknown", ("a", "b"))]),
}


@pytest.mark.parametrize("then", THEN)
def test_unknown_values_are_told_before_anything_else(line: tuple[ConnectedPeers, Connection], then: str) -> None:
    peers, fakerun = line
    peers.publish("a", UNKNOWN)
    peers.publish("b", UNKNOWN)
    act, heard = THEN[then]
    act(peers, fakerun)
    assert list(heard_by(fakerun)) == heard


def test_they_are_told_in_parts_however_many_there_are(line: tuple[ConnectedPeers, Connection]) -> None:
    peers, fakerun = line
    keys = [str(i) for i in range(1000)]
    for key in keys:
        peers.publish(key, UNKNOWN)
    in_time = list(heard_by(fakerun))
    assert len(in_time) > 1
    peers.say_all()
    assert [key for _, part in (*in_time, *heard_by(fakerun)) for key in part] == keys


def heard_by(fakerun: Connection) -> Iterator[Any]:
    while fakerun.poll():
        yield fakerun.recv()
