"""Values that ranks exchange: who receives what, who is waited for, and when waiting ends."""

from fakerun.launch.mailbox import JobMailbox
from fakerun.records.mailbox import Answer, Unavailable


def answers(mailbox: JobMailbox) -> dict[int, list[Answer]]:
    return dict(mailbox.answers())


def test_a_rank_gets_what_was_published_before_it_fetched() -> None:
    mailbox = JobMailbox()
    mailbox.publish(0, "a", b"0")
    mailbox.publish(1, "a", Unavailable.UNKNOWN)
    mailbox.fetch(2, [(1, "a"), (0, "a")])
    assert answers(mailbox) == {2: [Unavailable.UNKNOWN, b"0"]}
    assert not mailbox.waiting


def test_a_rank_waits_until_everything_is_published() -> None:
    mailbox = JobMailbox()
    mailbox.fetch(2, [(0, "a"), (1, "a")])
    mailbox.publish(0, "a", b"0")
    mailbox.publish(1, "b", b"another key")
    assert answers(mailbox) == {}
    assert (set(mailbox.waiting), mailbox.awaited()) == ({2}, {1})
    mailbox.publish(1, "a", b"1")
    assert answers(mailbox) == {2: [b"0", b"1"]}


def test_a_rank_that_has_ended_is_not_waited_for() -> None:
    mailbox = JobMailbox()
    mailbox.publish(0, "a", b"0")
    mailbox.fetch(2, [(0, "a"), (0, "b")])
    mailbox.end(0)
    assert mailbox.awaited() == set()
    assert answers(mailbox) == {2: [b"0", Unavailable.NEVER]}


def test_a_rank_that_has_ended_does_not_wait() -> None:
    mailbox = JobMailbox()
    mailbox.fetch(2, [(0, "a")])
    mailbox.end(2)
    assert (mailbox.waiting, mailbox.awaited()) == (frozenset(), set())


def test_what_is_waited_for_when_nobody_works_never_comes() -> None:
    mailbox = JobMailbox()
    mailbox.fetch(0, [(1, "a")])
    mailbox.fetch(1, [(0, "b"), (2, "b")])
    mailbox.publish(2, "b", b"2")
    mailbox.give_up()
    assert answers(mailbox) == {0: [Unavailable.NEVER], 1: [Unavailable.NEVER, b"2"]}


def represented() -> JobMailbox:
    """Ranks 10 to 19 are represented by ranks 0 to 9."""
    mailbox = JobMailbox()
    mailbox.representative_of = lambda rank: rank % 10
    return mailbox


def test_a_rank_gets_from_one_not_simulated_what_its_representative_got() -> None:
    """Rank 10 fetches from 11, which is not simulated; it gets what 0 got from 1, fetch by fetch."""
    mailbox = represented()
    mailbox.publish(1, "first", b"one")
    mailbox.publish(1, "second", b"two")
    mailbox.fetch(0, [(1, "first")])
    assert answers(mailbox) == {0: [b"one"]}
    mailbox.fetch(10, [(11, "its own key")])
    assert mailbox.awaited() == set()
    assert answers(mailbox) == {10: [b"one"]}
    mailbox.fetch(10, [(11, "another")])
    assert mailbox.awaited() == {11}
    mailbox.fetch(0, [(1, "second")])
    assert answers(mailbox) == {0: [b"two"], 10: [b"two"]}


def test_a_representative_that_fetched_from_another_rank_answers_nothing() -> None:
    mailbox = represented()
    mailbox.publish(2, "first", b"two")
    mailbox.fetch(0, [(2, "first")])
    assert answers(mailbox) == {0: [b"two"]}
    mailbox.fetch(10, [(11, "its own key")])
    assert mailbox.awaited() == {11}


def test_a_representative_that_fetched_fewer_values_answers_only_those() -> None:
    mailbox = represented()
    mailbox.publish(1, "first", b"one")
    mailbox.fetch(0, [(1, "first")])
    assert answers(mailbox) == {0: [b"one"]}
    mailbox.fetch(10, [(11, "first"), (12, "first")])
    assert mailbox.awaited() == {12}


def test_a_rank_that_represents_itself_answers_itself() -> None:
    """Rank 10 fetches from 1, which is simulated: it waits for 1's value, although its representative already got one from 1."""
    mailbox = represented()
    mailbox.publish(1, "for 0", b"zero's")
    mailbox.fetch(0, [(1, "for 0")])
    assert answers(mailbox) == {0: [b"zero's"]}
    mailbox.fetch(10, [(1, "for 10")])
    assert (mailbox.awaited(), answers(mailbox)) == ({1}, {})
    mailbox.publish(1, "for 10", b"ten's")
    assert answers(mailbox) == {10: [b"ten's"]}


def test_a_rank_that_waits_for_what_a_rank_has_done_is_not_answered_by_its_representative() -> None:
    mailbox = JobMailbox()
    mailbox.representative_of = {0: 0, 1: 1, 2: 0, 3: 1}.__getitem__
    mailbox.publish(0, "a", b"0")
    mailbox.fetch(1, [(0, "a")])
    mailbox.fetch(3, [(2, "a")])
    assert answers(mailbox) == {1: [b"0"], 3: [b"0"]}
    mailbox.wait(3, [(2, "b")])
    mailbox.wait(1, [(0, "b")])
    mailbox.publish(0, "b", b"1")
    assert answers(mailbox) == {1: [b"1"]}
    assert mailbox.awaited() == {2}
    mailbox.publish(2, "b", Unavailable.UNKNOWN)
    assert answers(mailbox) == {3: [Unavailable.UNKNOWN]}
