"""What ranks say to each other, kept by fakerun between them: who said what, who waits for whom, and when waiting is in vain.

Pure bookkeeping: it starts nothing, sends nothing and knows no time. A rank publishes what it contributes to a communication call under
a key that its peers can work out for themselves, and goes on; whoever needs it asks for it by rank and key, and gets it as soon as it
is there. What was said stays, for ranks that are started later.
"""

from collections.abc import Iterator, Sequence

from fakerun.records.peers import Answer, Silence

Wanted = tuple[int, str]
"""A rank, and the key of what it says."""


class Exchange:
    """The words of all ranks of one run."""

    def __init__(self) -> None:
        self._said: dict[Wanted, Answer] = {}
        self._waiting: dict[int, Sequence[Wanted]] = {}
        self._over: set[int] = set()

    def publish(self, rank: int, key: str, data: bytes | Silence) -> None:
        """`rank` says `data`, or that it has nothing to say."""
        self._said[rank, key] = data

    def want(self, rank: int, wanted: Sequence[Wanted]) -> None:
        """`rank` waits until all of this is known."""
        self._waiting[rank] = wanted

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
        wanted = (each for waiting in self._waiting.values() for each in waiting)
        return {peer for peer, key in wanted if (peer, key) not in self._said and peer not in self._over}

    def answered(self) -> Iterator[tuple[int, list[Answer]]]:
        """The ranks that can go on, each with what it waited for; from now on they wait no more."""
        for rank in sorted(self._waiting):
            answers = [self._answer(peer, key) for peer, key in self._waiting[rank]]
            if None not in answers:
                del self._waiting[rank]
                yield rank, [answer for answer in answers if answer is not None]

    def give_up(self, reason: Silence) -> None:
        """Nobody is to wait any longer for what was not said; each is told `reason` instead."""
        for wanted in self._waiting.values():
            for each in wanted:
                self._said.setdefault(each, reason)

    def _answer(self, peer: int, key: str) -> Answer | None:
        found = self._said.get((peer, key))
        return Silence.ENDED if found is None and peer in self._over else found
