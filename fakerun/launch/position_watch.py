"""When to ask a running rank where it is, and when to say that there is no news of it."""

from fakerun.records.position import RankPosition

SILENT_S = 60.0
"""How long there may be no news of a rank until it is said where it is; said again after twice, four times ... that long."""


class PositionWatch:
    """Follows the position of one rank, which is asked for it every `interval_s` seconds. Times are in seconds."""

    def __init__(self, now: float, *, interval_s: float) -> None:
        self.position: RankPosition | None = None
        self._interval_s = interval_s
        self._ask_at = now + interval_s
        self._news_at = now
        self._silent_s = SILENT_S
        self._is_asked = False

    @property
    def due_at(self) -> float:
        """When the rank is to be asked next."""
        return self._ask_at

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask the rank. If so, the next time is an interval from now."""
        if now < self._ask_at:
            return False
        self._ask_at = now + self._interval_s
        return True

    def may_ask(self) -> bool:
        """Whether the rank has answered so far; if so, it is taken to be asked now. One that holds the interpreter lock never answers."""
        answered, self._is_asked = not self._is_asked, True
        return answered

    def heard(self, position: RankPosition, now: float) -> None:
        """The rank has answered. It is news if it has recorded something or completed a step since."""
        if self.position is None or (position.steps, position.events) != (self.position.steps, self.position.events):
            self.restart(now)
        self.position = position
        self._is_asked = False

    def restart(self, now: float) -> None:
        """There is news of the rank, or it waits for others, of which there may be."""
        self._news_at = now
        self._silent_s = SILENT_S

    def silent_s(self, now: float) -> float | None:
        """For how long there has been no news, if that is to be said now."""
        silent_s = now - self._news_at
        if silent_s < self._silent_s:
            return None
        self._silent_s *= 2
        return silent_s
