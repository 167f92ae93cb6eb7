"""What the thread that follows the launcher does to the script's: nothing."""

import sys
import threading
import weakref

from fakerun.rank.exit_hooks import calls_of_thread


class Kept:
    """A variable of the script's."""


def test_asking_for_a_position_keeps_no_variable_alive() -> None:
    asked, go_on = threading.Event(), threading.Event()
    seen: list[tuple[str, int, str]] = []
    main = threading.get_ident()

    def follow() -> None:
        seen.extend(calls_of_thread(main))
        asked.set()
        go_on.wait()  # as it waits for the next request

    thread = threading.Thread(target=follow)

    def train() -> weakref.ref[Kept]:
        kept = Kept()
        thread.start()
        asked.wait()
        return weakref.ref(kept)

    reference = train()
    try:
        assert reference() is None
        assert "train" in [name.rpartition(".")[2] for _, _, name in seen]
    finally:
        go_on.set()
        thread.join()


def test_a_thread_that_is_gone_has_no_calls() -> None:
    assert calls_of_thread(max(sys._current_frames()) + 1) == []
