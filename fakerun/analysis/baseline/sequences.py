"""Sequences of calls that a baseline has many times, found so that its text has them once: stages of a pipeline do the same in other order.

A greedy grammar compression: the stretch of items whose second and later copies take the most lines is given a name, until none takes many.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fakerun.analysis.baseline.baseline import Call, Items, Schedule
from fakerun.records.collective import Phase

_LEAST_SAVED = 10
"""Lines. Below that, a reader is better off with the calls where they are issued."""
_LONGEST = 32
"""Items of a sequence."""

_Numbers: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """The sequence of this name."""

    name: str


@dataclass(frozen=True, slots=True)
class Times:
    """Items, `count` times in a row."""

    count: int
    items: "Written"


Written: TypeAlias = tuple[Call | Times | Use, ...]
"""Items in the form that is written down."""


def with_sequences(schedules: Sequence[Schedule]) -> tuple[tuple[tuple[Written, ...], ...], dict[str, Written]]:
    """For each schedule its parts as they are written, and the sequences that these and others use, by name."""
    grammar = _Grammar()
    parts = [[grammar.add(part.items) for part in schedule.parts] for schedule in schedules]
    grammar.name_sequences()
    written = tuple(tuple(map(grammar.written_list, own)) for own in parts)
    return written, dict(grammar.written_sequences())


class _Grammar:
    """Lists of items as numbers: equal items have equal numbers. A number is a call, a repetition of a list, or the use of a sequence."""

    def __init__(self) -> None:
        self._numbers: dict[Call | tuple[int, _Numbers] | Use, int] = {}
        self._values: list[Call | tuple[int, _Numbers] | Use] = []
        self._lines: list[int] = []
        self._lists: list[_Numbers] = []
        self._sequences: dict[str, _Numbers] = {}

    def add(self, items: Items) -> int:
        """Add a list; its index."""
        self._lists.append(self._list(items))
        return len(self._lists) - 1

    def name_sequences(self) -> None:
        """Name sequences and use them everywhere, the one that saves most lines first."""
        while (best := self._best()) is not None:
            use = self._number(Use(self._new_name(best)))
            self._lists = [self._replaced(numbers, best, use) for numbers in self._lists]
            self._sequences = {name: self._replaced(numbers, best, use) for name, numbers in self._sequences.items()}
            self._sequences[self._use_name(use)] = best

    def written_list(self, index: int) -> Written:
        return self._written(self._lists[index])

    def written_sequences(self) -> Iterator[tuple[str, Written]]:
        """By name, in the order in which they were named."""
        for name, numbers in self._sequences.items():
            yield name, self._written(numbers)

    # -- numbers -----------------------------------------------------------------------------------------------------------------------

    def _list(self, items: Items) -> _Numbers:
        return tuple(self._number(item if isinstance(item, Call) else (item.count, self._list(item.items))) for item in items)

    def _number(self, value: Call | tuple[int, _Numbers] | Use) -> int:
        number = self._numbers.setdefault(value, len(self._values))
        if number == len(self._values):
            self._values.append(value)
            self._lines.append(1 + sum(self._lines[each] for each in value[1]) if isinstance(value, tuple) else 1)
        return number

    def _use_name(self, number: int) -> str:
        value = self._values[number]
        assert isinstance(value, Use)
        return value.name

    def _written(self, numbers: _Numbers) -> Written:
        return tuple(self._written_item(self._values[number]) for number in numbers)

    def _written_item(self, value: Call | tuple[int, _Numbers] | Use) -> Call | Times | Use:
        return Times(value[0], self._written(value[1])) if isinstance(value, tuple) else value

    # -- what to name ------------------------------------------------------------------------------------------------------------------

    def _best(self) -> _Numbers | None:
        """The stretch that saves most lines, the first of equals."""
        copies: dict[_Numbers, int] = {}
        for numbers in (*self._lists, *self._sequences.values()):
            self._count_copies(numbers, copies)
        occurrences: dict[_Numbers, int] = {}
        for numbers, count in copies.items():
            for stretch in _stretches(numbers):
                occurrences[stretch] = occurrences.get(stretch, 0) + count
        best = max(occurrences, key=lambda stretch: self._saved(stretch, occurrences[stretch]), default=())
        return best if best and self._saved(best, occurrences[best]) >= _LEAST_SAVED else None

    def _count_copies(self, numbers: _Numbers, copies: dict[_Numbers, int]) -> None:
        copies[numbers] = copies.get(numbers, 0) + 1
        for number in numbers:
            value = self._values[number]
            if isinstance(value, tuple):
                self._count_copies(value[1], copies)

    def _saved(self, stretch: _Numbers, occurrences: int) -> int:
        """Lines that are not written if each occurrence is one line, and the sequence is written once, under a line with its name."""
        lines = sum(self._lines[number] for number in stretch)
        return lines * (occurrences - 1) - occurrences - 1

    def _replaced(self, numbers: _Numbers, stretch: _Numbers, use: int) -> _Numbers:
        found: list[int] = []
        at = 0
        while at < len(numbers):
            if numbers[at : at + len(stretch)] == stretch:
                found.append(use)
                at += len(stretch)
                continue
            value = self._values[numbers[at]]
            found.append(self._number((value[0], self._replaced(value[1], stretch, use))) if isinstance(value, tuple) else numbers[at])
            at += 1
        return tuple(found)

    def _new_name(self, numbers: _Numbers) -> str:
        """After the phase and module of its first call."""
        call = self._first_call(numbers)
        module = call.module or call.op
        name = f"{module}" if call.phase is Phase.OTHER else f"{call.phase} of {module}"
        count = sum(known == name or known.startswith(f"{name}, ") for known in self._sequences)
        return f"{name}, {count + 1}" if count else name

    def _first_call(self, numbers: _Numbers) -> Call:
        value = self._values[numbers[0]]
        if isinstance(value, Call):
            return value
        return self._first_call(value[1] if isinstance(value, tuple) else self._sequences[value.name])


def _stretches(numbers: _Numbers) -> Iterator[_Numbers]:
    """Every stretch of the list, as often as it occurs without overlapping itself."""
    ends: dict[_Numbers, int] = {}
    for length in range(1, min(len(numbers), _LONGEST) + 1):
        for start in range(len(numbers) - length + 1):
            stretch = numbers[start : start + length]
            if ends.get(stretch, 0) <= start:
                ends[stretch] = start + length
                yield stretch
