"""The values that the ranks of one job exchange: what each has published, who waits for what, and when waiting cannot end.

Pure bookkeeping: it starts nothing, sends nothing and has no clock. A rank publishes what it contributes to a communication call under a
key that its peers can derive, and continues; a rank that needs a value fetches it by rank and key, and gets it once it has been published.
Published values are kept for ranks that start later.

Where ranks are represented by others, a value of a rank that is not simulated is taken from the representatives: what the representative of
the fetching rank got from the representative of the other rank, in the fetch with the same number (`representative_of`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from fakerun.records.mailbox import Answer, Unavailable

Wanted = tuple[int, str]
"""A rank and the key of a value that it publishes."""


class JobMailbox:
    """What all ranks of one job have published and wait for."""

    def __init__(self) -> None:
        self.representative_of: Callable[[int], int] = lambda rank: rank
        self._published: dict[Wanted, Answer] = {}
        self._fetches: dict[int, list[Sequence[Wanted]]] = defaultdict(list)
        self._pending: dict[int, Sequence[Wanted]] = {}
        self._waits_for_themselves: set[int] = set()
        self._ended: set[int] = set()

    def publish(self, rank: int, key: str, data: Answer) -> None:
        """`rank` makes `data` available under `key`, or says why there is no value."""
        self._published[rank, key] = data

    def fetch(self, rank: int, wanted: Sequence[Wanted]) -> None:
        """`rank` waits until all of this is available; `answers` then has it."""
        self._pending[rank] = wanted
        self._waits_for_themselves.discard(rank)
        self._fetches[rank].append(wanted)

    def wait(self, rank: int, wanted: Sequence[Wanted]) -> None:
        """As `fetch`, but only the ranks that are named can answer, not their representatives."""
        self._pending[rank] = wanted
        self._waits_for_themselves.add(rank)

    def end(self, rank: int) -> None:
        """`rank` has ended: it publishes nothing more and waits for nothing."""
        self._ended.add(rank)
        self._pending.pop(rank, None)

    @property
    def waiting(self) -> frozenset[int]:
        """The ranks that wait."""
        return frozenset(self._pending)

    def awaited(self) -> set[int]:
        """The ranks that have yet to publish something that another rank waits for."""
        wanted = ((rank, index, each) for rank, pending in self._pending.items() for index, each in enumerate(pending))
        return {each[0] for rank, index, each in wanted if self._answer(rank, index, each) is None}

    def answers(self) -> Iterator[tuple[int, list[Answer]]]:
        """The ranks for which everything is available now, each with its answers; they no longer wait."""
        for rank in sorted(self._pending):
            answers = [self._answer(rank, index, each) for index, each in enumerate(self._pending[rank])]
            if None not in answers:
                del self._pending[rank]
                yield rank, [answer for answer in answers if answer is not None]

    def give_up(self) -> None:
        """No rank works: answer what is waited for and will never come.

        Those that only wait for others to come as far as they are get an answer first. They go on, and may publish what the rest waits for.
        """
        first = self._pending.keys() & self._waits_for_themselves
        for rank in first or self._pending.keys():
            for each in self._pending[rank]:
                self._published.setdefault(each, Unavailable.STALLED if first else Unavailable.NEVER)

    def _answer(self, rank: int, index: int, wanted: Wanted) -> Answer | None:
        found = self._published.get(wanted)
        if found is None and wanted[0] in self._ended:
            return Unavailable.NEVER
        if found is None and rank not in self._waits_for_themselves:
            return self._representatives_answer(rank, index, wanted[0])
        return found

    def _representatives_answer(self, rank: int, index: int, peer: int) -> Answer | None:
        """Item `index` of what the representative of `rank` fetched in the fetch with the same number, if it was from `peer`'s."""
        publisher = self.representative_of(peer)
        number = len(self._fetches[rank]) - 1
        same_fetch = self._fetches[self.representative_of(rank)][number : number + 1]
        if publisher == peer or not same_fetch:  # `peer` is simulated: its own value will come
            return None
        fetched = same_fetch[0][index : index + 1]
        return self._published.get(fetched[0]) if fetched and fetched[0][0] == publisher else None
