"""Run-length form: adjacent repetitions of calls, and of runs of calls, become one `Repeat`.

Repetitions are looked for from the shortest period to the longest, so that inner ones are found first: the layers of a forward, then
the microbatches.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from fakerun.analysis.baseline.baseline import Call, Items, Repeat

LONGEST_PERIOD = 512
"""Of items, after shorter repetitions were folded. A longer one stays as it is: what it says is right, and longer."""


def folded(calls: Iterable[Call]) -> Items:
    """The calls with repetitions folded; `unfolded` gives them back."""
    items = _Numbered(calls)
    period = 1
    while period <= min(len(items.order) // 2, LONGEST_PERIOD):
        period = 1 if items.fold(period) else period + 1  # what was folded may repeat with a shorter period
    return tuple(map(items.values.__getitem__, items.order))


def unfolded(items: Items) -> Iterator[Call]:
    """The calls in order."""
    for item in items:
        if isinstance(item, Call):
            yield item
        else:
            inner = tuple(unfolded(item.items))
            for _ in range(item.count):
                yield from inner


def counted(items: Items) -> Counter[Call]:
    """How often each call is issued, in order of first issue; functions are left out."""
    found: Counter[Call] = Counter()
    for item in items:
        if isinstance(item, Call):
            found[item.same] += 1
        else:
            for call, count in counted(item.items).items():
                found[call] += item.count * count
    return found


def issuing_function(items: Items, call: Call) -> str | None:
    """The function that issues the call first; `call` is without it."""
    for item in items:
        found = (item.function if item.same == call else None) if isinstance(item, Call) else issuing_function(item.items, call)
        if found is not None:
            return found
    return None


class _Numbered:
    """Items as numbers, equal ones as equal numbers: comparing calls field by field would take most of the time."""

    def __init__(self, calls: Iterable[Call]) -> None:
        self._numbers: dict[Call | Repeat, int] = {}
        self.values: list[Call | Repeat] = []
        self.order = [self._number(call) for call in calls]

    def fold(self, period: int) -> bool:
        """Fold every stretch of `period` items that follows itself; whether there was one."""
        repeats = _repeats(self.order, period)
        if max(repeats, default=1) < 2:
            return False
        found: list[int] = []
        at = 0
        while at < len(self.order):
            count = repeats[at] if at < len(repeats) else 1
            if count == 1:
                found.append(self.order[at])
                at += 1
                continue
            body = tuple(self.values[number] for number in self.order[at : at + period])
            found.append(self._number(Repeat(count, body)))
            at += count * period
        self.order = found
        return True

    def _number(self, item: Call | Repeat) -> int:
        number = self._numbers.setdefault(item, len(self.values))
        if number == len(self.values):
            self.values.append(item)
        return number


def _repeats(order: Sequence[int], period: int) -> list[int]:
    """For each item, how often the `period` items from it on follow each other."""
    equal = [first == second for first, second in zip(order, order[period:], strict=False)]
    length, found = 0, []
    for is_equal in reversed(equal):
        length = length + 1 if is_equal else 0
        found.append(length // period + 1)
    found.reverse()
    return found
