"""How far this rank and its peers have come, counted in the calls of their groups: what happened before what, without a clock.

All members of a group issue its calls in the same order. What a peer did before its n-th call of a group happened before what this rank
does after its own n-th call, however fast their processes run.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from enum import IntEnum

from fakerun.emulate.context import EmulationContext
from fakerun.records.finding_code import FindingCode
from fakerun.records.mailbox import Unavailable


class Peers(IntEnum):
    """Which ranks are waited for. Those that are not simulated are started, so each level costs more than the one before."""

    SIMULATED = 0
    """Only those that are simulated anyway, the ones that were waited for before among them."""
    ROOT = 1
    """Rank 0 as well, which writes the files of most programs."""
    WRITERS = 2
    """The first rank of the node and of each group as well."""


class CallProgress:
    """Counts the calls that this rank begins, and waits until its peers have come as far."""

    def __init__(self, context: EmulationContext) -> None:
        job, self._rank = context.job, context.rank
        self._mailbox = context.mailbox
        self._findings = context.findings
        self._world_size = job.world_size
        self._simulated = frozenset(job.ranks)
        self._node_first = self._rank - self._rank % job.nproc_per_node
        self._counts: Counter[str] = Counter()
        self._ahead: dict[str, tuple[int, ...]] = {}
        """By the calls of a group, whom this rank knows to have begun as many."""
        self._waited_for: set[int] = set()
        self._reached: dict[tuple[int, str], int] = {}
        self.of_all_ranks = 0
        """Calls of groups of all ranks."""

    def begin(self, group: str, members: Collection[int], ahead: Collection[int]) -> str:
        """Count a call of `group`, or of a pair in it; the call's key on every rank that takes part in it.

        `ahead` are those without whose call this one does not complete here.
        """
        self._counts[group] += 1
        self._ahead[group] = tuple(ahead)
        self.of_all_ranks += len(members) == self._world_size
        return f"{group} #{self._counts[group]}"

    @property
    def is_complete(self) -> bool:
        """Whether all ranks are simulated, as far as this rank knows."""
        return len(self._simulated | self._waited_for | {self._rank}) == self._world_size

    @property
    def counts(self) -> Mapping[str, int]:
        """How many calls this rank has begun, by group."""
        return self._counts

    def happened(self, peer: int, counts: Mapping[str, int]) -> bool:
        """Whether `peer` had done by now what it did when it had begun so many calls."""
        return any(peer in ahead and counts.get(group, 0) < self._counts[group] for group, ahead in self._ahead.items())

    def will_happen(self, peer: int, counts: Mapping[str, int]) -> bool:
        """Whether `peer` does only after calls that this rank has yet to begin what it did when it had begun so many."""
        return any(peer in ahead and counts.get(group, 0) > self._counts[group] for group, ahead in self._ahead.items())

    def wait_for_peers(self, which: Peers) -> tuple[int, ...]:
        """Wait until these peers have begun the calls that this rank has completed with them; which ranks those are."""
        wanted: dict[tuple[int, str], int] = {}
        peers: set[int] = set()
        for group, ahead in self._ahead.items():
            for peer in ahead:
                if self._is_meant(peer, ahead, which):
                    peers.add(peer)
                    if self._reached.get((peer, group), 0) < self._counts[group]:
                        wanted[peer, group] = self._counts[group]
        if wanted:
            answers = self._mailbox.wait([(peer, f"{group} #{count}") for (peer, group), count in wanted.items()])
            for (peer, _), answer in zip(wanted, answers, strict=True):
                self._note_if_missing(peer, answer)
                if answer is Unavailable.NOT_SIMULATED:
                    peers.discard(peer)
        self._reached.update(wanted)
        self._waited_for |= peers
        return tuple(sorted(peers))

    def candidates(self) -> tuple[int, ...]:
        """The peers that may do what this rank waits for outside of any call, the likely ones first."""
        firsts = [0, self._node_first, *(min(ahead) for ahead in self._ahead.values() if ahead)]
        return tuple(rank for rank in dict.fromkeys([*firsts, *sorted(self._simulated)]) if rank != self._rank)

    def _is_meant(self, peer: int, ahead: tuple[int, ...], which: Peers) -> bool:
        if peer == self._rank:
            return False
        likely = {Peers.SIMULATED: (), Peers.ROOT: (0,), Peers.WRITERS: (0, self._node_first, ahead[0])}[which]
        return peer in self._simulated or peer in self._waited_for or peer in likely

    def _note_if_missing(self, peer: int, answer: bytes | Unavailable) -> None:
        if answer is Unavailable.STALLED:
            self._findings.note(
                FindingCode.PEER_UNAVAILABLE,
                f"the script looks for a file, which rank {peer} might have written before ({answer.value}). It was assumed not to have.",
                hint="Files that ranks see may differ on real hardware.",
            )
