"""When a rank is asked where it is, and when its silence is remarked on."""

from fakerun.launch.position_watch import SILENT_S, PositionWatch
from fakerun.records.position import RankPosition
from tests.unit.records_by_hand import site

AT_12 = RankPosition(steps=1, events=100, call_site=site("train.py:12"))
AT_13 = RankPosition(steps=1, events=100, call_site=site("train.py:13"))
LATER = RankPosition(steps=1, events=101, call_site=site("train.py:12"))


def test_a_rank_is_asked_at_intervals() -> None:
    watch = PositionWatch(100.0, interval_s=15.0)
    assert watch.due_at == 115.0
    assert [watch.is_due(now) for now in (114.9, 115.0, 116.0, 130.0)] == [False, True, False, True]


def test_a_rank_that_does_not_answer_is_not_asked_again() -> None:
    watch = PositionWatch(0.0, interval_s=1.0)
    assert [watch.may_ask(), watch.may_ask()] == [True, False]
    watch.heard(AT_12, 3.0)
    assert watch.may_ask()


def test_silence_is_remarked_on_after_a_minute_and_then_less_and_less_often() -> None:
    watch = PositionWatch(0.0, interval_s=1.0)
    watch.heard(AT_12, 10.0)
    watch.heard(AT_13, 60.0)  # another line, but nothing that is recorded
    remarked = [now for now in range(600) if watch.silent_s(float(now)) is not None]
    assert remarked == [10 + SILENT_S, 10 + 2 * SILENT_S, 10 + 4 * SILENT_S, 10 + 8 * SILENT_S]
    assert watch.position == AT_13


def test_news_ends_the_silence() -> None:
    watch = PositionWatch(0.0, interval_s=1.0)
    watch.heard(AT_12, 0.0)
    assert watch.silent_s(70.0) == 70.0
    watch.heard(LATER, 80.0)
    assert watch.silent_s(139.0) is None
    assert watch.silent_s(140.0) == 60.0


def test_waiting_for_others_is_no_silence() -> None:
    watch = PositionWatch(0.0, interval_s=1.0)
    watch.restart(50.0)
    assert watch.silent_s(100.0) is None
