"""SIGINT is counted and can be waited for; the previous handler is restored."""

import os
import select
import signal
import threading

import pytest

from fakerun.launch.interrupts import Interrupts


def is_readable(interrupts: Interrupts) -> bool:
    return bool(select.select([interrupts], [], [], 0)[0])


@pytest.fixture(autouse=True)
def _default_handler() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_sigint_is_counted_and_raises_nothing() -> None:
    with Interrupts() as interrupts:
        assert (interrupts.count, is_readable(interrupts)) == (0, False)
        os.kill(os.getpid(), signal.SIGINT)
        assert (interrupts.count, is_readable(interrupts)) == (1, True)
        interrupts.clear()
        assert not is_readable(interrupts)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert (interrupts.count, is_readable(interrupts)) == (3, True)
        interrupts.clear()
        assert not is_readable(interrupts)


def test_afterwards_it_raises_again() -> None:
    with Interrupts():
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_where_it_is_ignored_it_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.count == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_in_another_thread_nothing_changes() -> None:
    handlers = []

    def enter() -> None:
        with Interrupts() as interrupts:
            handlers.append((signal.getsignal(signal.SIGINT), is_readable(interrupts)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [(signal.default_int_handler, False)]
