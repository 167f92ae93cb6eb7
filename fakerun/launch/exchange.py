"""What ranks say to each other, kept by fakerun between them: who said what, who waits for whom, and when waiting is in vain.

Pure bookkeeping: it starts nothing, sends nothing and knows no time. A rank publishes what it contributes to a communication call under
a key that its peers can work out for themselves, and goes on; whoever needs it asks for it by rank and key, and gets it as soon as it
is there. What was said stays, for ranks that are started later.

Where a rank stands for many, what one of these would hear from a rank that is not simulated is what the rank that stands for it heard, at
the same point of its life, from the one that stands for the other (`stand_in`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from fakerun.records.peers import Answer, Silence

Wanted = tuple[int, str]
"""A rank, and the key of what it says."""


class Exchange:
    """The words of all ranks of one run."""

    def __init__(self) -> None:
        self.stand_in: Callable[[int], int] = lambda rank: rank
        self._said: dict[Wanted, Answer] = {}
        self._asked: dict[int, list[Sequence[Wanted]]] = defaultdict(list)
        self._waiting: dict[int, Sequence[Wanted]] = {}
        self._over: set[int] = set()

    def publish(self, rank: int, key: str, data: bytes | Silence) -> None:
        """`rank` says `data`, or that it has nothing to say."""
        self._said[rank, key] = data

    def want(self, rank: int, wanted: Sequence[Wanted]) -> None:
        """`rank` waits until all of this is known."""
        self._waiting[rank] = wanted
        self._asked[rank].append(wanted)

    def end(self, rank: int) -> None:
        """`rank` will say nothing any more, and waits for nothing."""
        self._over.add(rank)
        self._waiting.pop(rank, None)

    @property
    def waiting(self) -> frozenset[int]:
        """The ranks that wait."""
        return frozenset(self._waiting)

    def waited_for(self) -> set[int]:
        """The ranks that have yet to say something for another to go on."""
        wanted = ((rank, number, each) for rank, waiting in self._waiting.items() for number, each in enumerate(waiting))
        return {each[0] for rank, number, each in wanted if self._answer(rank, number, each) is None}

    def answered(self) -> Iterator[tuple[int, list[Answer]]]:
        """The ranks that can go on, each with what it waited for; from now on they wait no more."""
        for rank in sorted(self._waiting):
            answers = [self._answer(rank, number, each) for number, each in enumerate(self._waiting[rank])]
            if None not in answers:
                del self._waiting[rank]
                yield rank, [answer for answer in answers if answer is not None]

    def give_up(self, reason: Silence) -> None:
        """Nobody is to wait any longer for what was not said; each is told `reason` instead."""
        for wanted in self._waiting.values():
            for each in wanted:
                self._said.setdefault(each, reason)

    def _answer(self, rank: int, number: int, wanted: Wanted) -> Answer | None:
        found = self._said.get(wanted)
        if found is None and wanted[0] in self._over:
            return Silence.ENDED
        return self._of_stand_ins(rank, number, wanted[0]) if found is None else found

    def _of_stand_ins(self, rank: int, number: int, peer: int) -> Answer | None:
        """What was heard by the rank that stands for this one: the same `number` of its last question."""
        asker, answerer = self.stand_in(rank), self.stand_in(peer)
        question = len(self._asked[rank]) - 1
        if asker in (rank, answerer) or answerer == peer or question >= len(self._asked[asker]):
            return None
        asked = self._asked[asker][question]
        return self._said.get(asked[number]) if number < len(asked) and asked[number][0] == answerer else None
