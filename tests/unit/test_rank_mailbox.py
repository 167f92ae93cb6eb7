"""What a rank sends to the launcher: unknown values in batches of hundreds, and before any other message."""

import os
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

import pytest

from fakerun.rank.mailbox import ConnectedMailbox
from fakerun.records.mailbox import Unavailable

UNKNOWN = Unavailable.UNKNOWN


@pytest.fixture
def connected() -> Iterator[tuple[ConnectedMailbox, Connection]]:
    """The rank's mailbox, and the launcher's end of its connection."""
    launcher, rank = Pipe()
    with launcher:
        yield ConnectedMailbox(os.dup(rank.fileno()), Path()), launcher
    rank.close()


def fetch(mailbox: ConnectedMailbox, launcher: Connection) -> None:
    launcher.send([b"answer"])
    assert mailbox.fetch([(1, "wanted")]) == [b"answer"]


THEN: dict[str, tuple[Callable[[ConnectedMailbox, Connection], None], list[Any]]] = {
    "nothing": (lambda mailbox, _: None, []),
    "a value": (lambda mailbox, _: mailbox.publish("c", b"3"), [("unknown", ("a", "b")), ("publish", "c", b"3")]),
    "a fetch": (fetch, [("unknown", ("a", "b")), ("fetch", ((1, "wanted"),))]),
    "a flush": (lambda mailbox, _: mailbox.flush(), [("unknown", ("a", "b"))]),
}


@pytest.mark.parametrize("then", THEN)
def test_unknown_values_are_sent_before_any_other_message(connected: tuple[ConnectedMailbox, Connection], then: str) -> None:
    mailbox, launcher = connected
    mailbox.publish("a", UNKNOWN)
    mailbox.publish("b", UNKNOWN)
    act, received = THEN[then]
    act(mailbox, launcher)
    assert list(received_by(launcher)) == received


def test_many_unknown_values_are_sent_in_parts(connected: tuple[ConnectedMailbox, Connection]) -> None:
    mailbox, launcher = connected
    keys = [str(i) for i in range(1000)]
    for key in keys:
        mailbox.publish(key, UNKNOWN)
    before_flush = list(received_by(launcher))
    assert len(before_flush) > 1
    mailbox.flush()
    assert [key for _, part in (*before_flush, *received_by(launcher)) for key in part] == keys


def received_by(launcher: Connection) -> Iterator[Any]:
    while launcher.poll():
        yield launcher.recv()
