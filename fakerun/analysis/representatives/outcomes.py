"""Outcomes: which ranks all known tests of the rank come out the same for. They take the same branches, as far as branches were tested.

Tests that compare one function with constants are answered together, once for each value of the function: a loop that compares the rank
with every rank of the world makes as many tests as there are ranks.
"""

import operator
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fakerun.analysis.representatives.rank_columns import Column, NotEvaluatedError, RankColumns
from fakerun.call_site import CallSite
from fakerun.records.rank_function import Number, RankFunction, RankOperation, RankTest, UnfollowedUse

_MOST_VALUES = 100_000_000
"""Values of rank functions that are computed in all: some ten seconds."""
_MOST_FOUND = 16
"""Numbers by which ranks find themselves at one line, and that are taken for classes: pipeline stages may be the keys of a dictionary."""
_MOST_CONSTANTS = 5_000_000
"""Constants in all tests together."""

_MIRRORED = {
    RankOperation.LT: RankOperation.GT,
    RankOperation.LE: RankOperation.GE,
    RankOperation.GT: RankOperation.LT,
    RankOperation.GE: RankOperation.LE,
}
_TRUTH_VALUES = frozenset(
    {RankOperation.EQ, RankOperation.NE, *_MIRRORED, RankOperation.IN, RankOperation.TRUTH},
)

Key = tuple[RankFunction, CallSite | None]
"""A test: its function, and where the program made it."""
_Place = tuple[RankFunction, CallSite | None]
"""A function that is compared with numbers, and where."""
_Label = tuple[int, int]
"""A constant of a test, by the numbers of both."""


def refined(numbers: Sequence[int], column: Iterable[object]) -> list[int]:
    """The ranks numbered from 0, so that two have the same number if they have the same one in `numbers` and in the column."""
    known: dict[object, int] = {}
    return [known.setdefault(pair, len(known)) for pair in zip(numbers, column, strict=True)]


class Outcomes:
    """The classes of ranks for which all tests added so far come out the same; at most `limit` of them, else they are `merged`.

    Merged classes count, for each line of the program, how many of its tests are true: ranks of a merged class differ only in which of
    the tests of a line they are singled out by, as in a loop that looks for the rank's own entry.
    """

    def __init__(self, columns: RankColumns, world_size: int, *, limit: int) -> None:
        self._columns = columns
        self._world_size = world_size
        self._limit = limit
        self._all_tests: dict[Key, None] = {}
        self._tests: dict[Key, None] = {}
        """Without those that are lookups."""
        self._lookups = _Lookups()
        self._groups: set[object] = set()
        self._not_evaluated: set[Key] = set()
        self._evaluations = self._constants = 0
        self._numbers: list[int] = [0] * world_size
        self._merged: list[int] | None = None
        self._memberships: list[Column] = []

    @property
    def numbers(self) -> Sequence[int]:
        """By rank the number of its class."""
        return self._numbers if self._merged is None else self._merged

    @property
    def classes(self) -> int:
        return len(set(self.numbers))

    @property
    def tests(self) -> int:
        """The number of distinct tests."""
        return len(self._tests)

    @property
    def has_groups(self) -> bool:
        """Whether not all ranks are members of as many groups of each kind."""
        return bool(self._memberships)

    @property
    def is_merged(self) -> bool:
        return self._merged is not None

    @property
    def not_evaluated(self) -> int:
        """Tests whose outcomes on other ranks are not known: they would take too long, or too much memory."""
        return len(self._not_evaluated)

    @property
    def lookups(self) -> tuple[UnfollowedUse, ...]:
        """Lines at which each rank compares with a number of its own alone: it looks itself up in a table that is not known."""
        return tuple(UnfollowedUse(kind="index", call_site=site, count=1) for _, site in self._lookups.places)

    def add(self, tests: Iterable[RankTest]) -> None:
        """Take these tests into account."""
        tests = tuple(tests)
        known = self._lookups.places
        self._lookups.add(tests)
        new = {(test.function, test.call_site): None for test in tests}
        new |= {(membership, None): None for function, _ in tuple(new) for membership in _memberships(function)}
        added = [key for key in new if key not in self._all_tests]
        self._all_tests |= dict.fromkeys(added)
        if self._lookups.places != known:
            self._numbers, self._merged, self._tests = [0] * self._world_size, None, {}
            for column in self._memberships:
                self._numbers = refined(self._numbers, column)
            added = list(self._all_tests)
        added = [key for key in added if _place_of(key) not in self._lookups.places]
        self._tests |= dict.fromkeys(added)
        if not added:
            return
        if self._merged is None:
            for column in self._outcomes(added):
                self._numbers = refined(self._numbers, column)
        self._merge_if_many()

    def add_memberships(self, memberships: Iterable[tuple[object, Column]]) -> None:
        """Take into account of how many groups each rank is a member; each kind of group, with its key, once."""
        for key, column in memberships:
            if key not in self._groups:
                self._groups.add(key)
                if len(set(column)) > 1:
                    self._memberships.append(column)
                    self._numbers = refined(self._numbers, column)
                    self._merge_if_many()

    def _merge_if_many(self) -> None:
        if self._merged is None and len(set(self._numbers)) <= self._limit:
            return
        self._merged = [0] * self._world_size
        self._evaluations = self._constants = 0
        self._not_evaluated.clear()
        by_site: defaultdict[CallSite | None, list[Key]] = defaultdict(list)
        for key in self._tests:
            by_site[key[1]].append(key)
        columns = (column for tests in by_site.values() for column in self._counts(tests))
        for column in (*self._memberships, *columns):
            self._merged = refined(self._merged, column)

    # -- the outcomes of some tests ----------------------------------------------------------------------------------------------------

    def _outcomes(self, tests: Sequence[Key]) -> Iterator[Column]:
        """Columns that differ between two ranks if and only if the outcome of a test does."""
        for operand, questions, keys in self._by_operand(tests):
            column = self._values(operand, keys)
            if column is None:
                continue
            signatures = questions.signatures(set(column)) if questions.are_asked else None
            if signatures is None:
                yield column
            elif len(set(signatures.values())) > 1:
                yield list(map(signatures.__getitem__, column))

    def _counts(self, tests: Sequence[Key]) -> Iterator[Column]:
        """The same, but of tests for equality only how many are true."""
        total: Column = [0] * self._world_size
        for operand, questions, keys in self._by_operand(tests):
            column = self._values(operand, keys)
            if column is None:
                continue
            if not questions.are_asked:
                yield column
                continue
            values = set(column)
            yield list(map(questions.places(values).__getitem__, column))
            total = list(map(operator.add, total, map(questions.hits(values).__getitem__, column)))
        yield total

    def _by_operand(self, tests: Sequence[Key]) -> Iterator[tuple[RankFunction, "_Questions", Sequence[Key]]]:
        questions: defaultdict[RankFunction, _Questions] = defaultdict(_Questions)
        keys: defaultdict[RankFunction, list[Key]] = defaultdict(list)
        for number, key in enumerate(tests):
            self._constants += len(key[0].constants)
            if self._constants > _MOST_CONSTANTS:
                self._not_evaluated.add(key)
                continue
            function = _without_truth(key[0])
            operand = _compared(function)
            if operand is None:
                questions[function] = questions[function]
                keys[function].append(key)
            else:
                questions[operand].ask(function, number)
                keys[operand].append(key)
        return ((operand, questions[operand], keys[operand]) for operand in questions)

    def _values(self, operand: RankFunction, keys: Iterable[Key]) -> Column | None:
        self._evaluations += self._world_size * _size(operand)
        if self._evaluations <= _MOST_VALUES:
            try:
                return self._columns.of(operand)
            except NotEvaluatedError:
                pass
        self._not_evaluated.update(keys)
        return None


class _Lookups:
    """Finds lines at which ranks compare with their own number and with no other: Python does so where it finds them in a dictionary."""

    def __init__(self) -> None:
        self.places: frozenset[_Place] = frozenset()
        self._found: defaultdict[_Place, set[RankFunction]] = defaultdict(set)
        self._others: set[_Place] = set()

    def add(self, tests: Iterable[RankTest]) -> None:
        for test in tests:
            place = _place_of((test.function, test.call_site))
            if place is not None and test.outcome:
                self._found[place].add(test.function)
            elif place is not None:
                self._others.add(place)
        self.places = frozenset(
            place for place, functions in self._found.items() if len(functions) > _MOST_FOUND and place not in self._others
        )


def _place_of(key: Key) -> _Place | None:
    """What a test for equality compares with a number, and where; None for any other test."""
    function = _without_truth(key[0])
    operand = _compared(function) if function.operation is RankOperation.EQ else None
    return None if operand is None else (operand, key[1])


@dataclass(slots=True)
class _Questions:
    """The comparisons of one function with constants."""

    labels: defaultdict[Number, list[_Label]] = field(default_factory=lambda: defaultdict(list))
    """By value the tests that it is singled out by."""
    less: list[Number] = field(default_factory=list)
    """The numbers that it is asked whether the function is less than (or not)."""
    at_most: list[Number] = field(default_factory=list)

    @property
    def are_asked(self) -> bool:
        return bool(self.labels or self.less or self.at_most)

    def ask(self, test: RankFunction, number: int) -> None:
        """Add a test, of which `_compared` returns the function."""
        operation, constant = test.operation, _constant(test)
        if _is_constant(test.operands[0]) and operation in _MIRRORED:
            operation = _MIRRORED[operation]
        match operation:
            case RankOperation.LT | RankOperation.GE:
                self.less.append(constant)
            case RankOperation.LE | RankOperation.GT:
                self.at_most.append(constant)
            case RankOperation.IN:
                for value in set(test.constants):
                    self.labels[value].append((number, 0))
            case RankOperation.ITEM:
                for place, value in enumerate(dict.fromkeys(test.constants)):
                    self.labels[value].append((number, place))
            case RankOperation.TRUTH:
                self.labels[0].append((number, 0))
            case _:
                self.labels[constant].append((number, 0))

    def signatures(self, values: Iterable[Any]) -> Mapping[Any, object]:
        """For each value what all outcomes follow from."""
        places = self.places(values)
        return {value: (places[value], *self.labels.get(value, ())) for value in values}

    def hits(self, values: Iterable[Any]) -> Mapping[Any, int]:
        """For each value the number of tests that single it out."""
        return {value: len(self.labels.get(value, ())) for value in values}

    def places(self, values: Iterable[Any]) -> Mapping[Any, object]:
        """For each value where it lies among the numbers that it is compared with."""
        less, at_most = sorted(set(self.less)), sorted(set(self.at_most))
        return {value: _place(value, less, at_most) for value in values}


def _place(value: Any, less: Sequence[Number], at_most: Sequence[Number]) -> object:
    if value is None or isinstance(value, complex):
        return value  # the program would raise there
    return bisect_right(less, value), bisect_left(at_most, value)


def _compared(test: RankFunction) -> RankFunction | None:
    """What the test compares with constants; None for any other test."""
    match test.operation:
        case RankOperation.IN | RankOperation.ITEM | RankOperation.TRUTH:
            return test.operands[0]
        case RankOperation.EQ | RankOperation.NE | RankOperation.LT | RankOperation.LE | RankOperation.GT | RankOperation.GE:
            left, right = test.operands
            if _is_constant(right):
                return left
            return right if _is_constant(left) else None
        case _:
            return None


def _without_truth(test: RankFunction) -> RankFunction:
    """The test itself, where its truth is tested again: `if rank == 3:`."""
    while test.operation is RankOperation.TRUTH and test.operands[0].operation in _TRUTH_VALUES:
        (test,) = test.operands
    return test


def _constant(test: RankFunction) -> Number:
    return next((each.constants[0] for each in test.operands if _is_constant(each)), 0)


def _is_constant(function: RankFunction) -> bool:
    return function.operation is RankOperation.CONSTANT


def _size(function: RankFunction) -> int:
    return 1 + sum(map(_size, function.operands))


def _memberships(function: RankFunction) -> Iterator[RankFunction]:
    """For each group that the function gives the group rank in: whether the rank is in it, or in a counterpart."""
    if function.operation is RankOperation.GROUP_RANK:
        zero = RankFunction(operation=RankOperation.CONSTANT, constants=(0,))
        yield RankFunction(operation=RankOperation.GE, operands=(function, zero))
    for operand in function.operands:
        yield from _memberships(operand)
