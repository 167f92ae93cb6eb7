"""What ranks say to each other: who gets what, who is waited for, and when waiting ends."""

from fakerun.launch.exchange import Exchange
from fakerun.records.peers import Silence


def answered(exchange: Exchange) -> dict[int, list[bytes | Silence]]:
    return dict(exchange.answered())


def test_a_rank_gets_what_was_said_before_it_asked() -> None:
    exchange = Exchange()
    exchange.publish(0, "a", b"0")
    exchange.publish(1, "a", Silence.UNKNOWN)
    exchange.want(2, [(1, "a"), (0, "a")])
    assert answered(exchange) == {2: [Silence.UNKNOWN, b"0"]}
    assert not exchange.waiting


def test_a_rank_waits_until_all_have_spoken() -> None:
    exchange = Exchange()
    exchange.want(2, [(0, "a"), (1, "a")])
    exchange.publish(0, "a", b"0")
    exchange.publish(1, "b", b"another matter")
    assert answered(exchange) == {}
    assert (set(exchange.waiting), exchange.waited_for()) == ({2}, {1})
    exchange.publish(1, "a", b"1")
    assert answered(exchange) == {2: [b"0", b"1"]}


def test_who_has_ended_is_not_waited_for() -> None:
    exchange = Exchange()
    exchange.publish(0, "a", b"0")
    exchange.want(2, [(0, "a"), (0, "b")])
    exchange.end(0)
    assert exchange.waited_for() == set()
    assert answered(exchange) == {2: [b"0", Silence.ENDED]}


def test_who_has_ended_does_not_wait() -> None:
    exchange = Exchange()
    exchange.want(2, [(0, "a")])
    exchange.end(2)
    assert (exchange.waiting, exchange.waited_for()) == (frozenset(), set())


def test_waiting_can_be_given_up() -> None:
    exchange = Exchange()
    exchange.want(0, [(1, "a")])
    exchange.want(1, [(0, "b"), (2, "b")])
    exchange.publish(2, "b", b"2")
    exchange.give_up(Silence.STALLED)
    assert answered(exchange) == {0: [Silence.STALLED], 1: [Silence.STALLED, b"2"]}


def test_what_a_rank_hears_from_one_not_simulated_is_what_its_stand_in_heard() -> None:
    """Ranks 0 and 1 talk; 10 stands for nobody, asks 11, which is not simulated: 0 and 1 stand for them."""
    exchange = Exchange()
    exchange.stand_in = lambda rank: rank % 10
    exchange.publish(1, "first", b"one")
    exchange.publish(1, "second", b"two")
    exchange.want(0, [(1, "first")])
    assert list(exchange.answered()) == [(0, [b"one"])]
    exchange.want(10, [(11, "its own key")])
    assert exchange.waited_for() == set()
    assert list(exchange.answered()) == [(10, [b"one"])]
    exchange.want(10, [(11, "another")])
    assert exchange.waited_for() == {11}
    exchange.want(0, [(1, "second")])
    assert list(exchange.answered()) == [(0, [b"two"]), (10, [b"two"])]


def test_stand_ins_that_asked_somebody_else_tell_nothing() -> None:
    exchange = Exchange()
    exchange.stand_in = lambda rank: rank % 10
    exchange.publish(2, "first", b"two")
    exchange.want(0, [(2, "first")])
    assert list(exchange.answered()) == [(0, [b"two"])]
    exchange.want(10, [(11, "its own key")])
    assert exchange.waited_for() == {11}
