"""Output of ranks is shown while they run, once, in whole lines with a prefix for the rank."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakerun.launch.live_output import LiveOutput

LONG_S = 60.0
"""For waits that end at once unless something is broken."""


@pytest.fixture(autouse=True)
def _no_thread_fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The copying thread's exceptions reach nobody else."""
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    yield
    assert not failures


def _shown(log: Path, data: bytes) -> str:
    stream = io.StringIO()
    with LiveOutput((log,), stream, prefix="[rank3]: "):
        log.write_bytes(data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", ""),
        (b"one\ntwo\n", "[rank3]: one\n[rank3]: two\n"),
        (b"[rank3]: Traceback\n[rank31]: x\n", "[rank3]: Traceback\n[rank3]: [rank31]: x\n"),
        (b"no end", "[rank3]: no end\n"),
        (b"\n", "[rank3]: \n"),
        (b" 10%\r 20%\r100%\r\ndone\n", "[rank3]:  10%\n[rank3]:  20%\n[rank3]: 100%\n[rank3]: done\n"),
        (b"50%\r", "[rank3]: 50%\n"),
        ("naïve".encode("latin-1") + b"\n", "[rank3]: na\N{REPLACEMENT CHARACTER}ve\n"),
        (b"cut \xe2\x82", "[rank3]: cut \N{REPLACEMENT CHARACTER}\n"),
    ],
)
def test_lines_are_marked(tmp_path: Path, data: bytes, shown: str) -> None:
    assert _shown(tmp_path / "log", data) == shown


def test_a_character_across_two_chunks_stays_whole(tmp_path: Path) -> None:
    text = "x" * 65535 + "\N{EURO SIGN}" * 50_000
    assert _shown(tmp_path / "log", text.encode()) == f"[rank3]: {text}\n"


def test_a_line_appears_before_the_rank_ends(tmp_path: Path) -> None:
    class Display(io.StringIO):
        shown = threading.Event()

        def write(self, text: str) -> int:
            self.shown.set()
            return super().write(text)

    display = Display()
    with LiveOutput((tmp_path / "log",), display, prefix="[rank3]: "):
        (tmp_path / "log").write_text("loss 3.2\n")
        assert display.shown.wait(LONG_S)
        assert display.getvalue() == "[rank3]: loss 3.2\n"


def test_a_log_that_never_appears_is_empty(tmp_path: Path) -> None:
    stream = io.StringIO()
    with LiveOutput((tmp_path / "absent",), stream, prefix=""):
        pass
    assert stream.getvalue() == ""


def test_a_log_that_is_not_there_yet_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("text\n")
    stream = io.StringIO()
    with LiveOutput((tmp_path / "absent", tmp_path / "log"), stream, prefix="[rank3]: "):
        pass
    assert stream.getvalue() == "[rank3]: text\n"


def test_a_closed_terminal_stops_no_rank(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("text\n")
    stream = io.StringIO()
    stream.close()
    with LiveOutput((tmp_path / "log",), stream, prefix=""):
        pass
