"""Hosts, streams and communicators of all ranks, played with given costs of operations and calls.

1. `played_classes`: ranks that do the same are one class, of which one is played.
2. `instructions`: a program as it is played, with operations between which nothing else is asked as runs; `runs`: a run as a function of
   the clocks of host and stream.
3. `parts`: what a class plays: its program and its calls, with what they cost.
4. `queues`: streams, communicators, events and calls of several ranks; `play`: all classes played against each other; `measured` keeps
   when each operation and each call of a step ran.
5. `contention`: operations beside communication take longer.
6. `player`: the plays of a run; `spans`: Timeline, what comes out.
7. Of a timeline, for traces and pictures: `memory_over_step`, memory while the host issues it; `inputs`, what operations were given;
   `occupancy`, how the step fills host and streams.
"""

from fakerun.analysis.time.timeline.parts import CallPrices, OperationPrices
from fakerun.analysis.time.timeline.player import Player, Prices, player_of
from fakerun.analysis.time.timeline.spans import HOST, CallSpans, HostWaits, NoTimeline, OperationSpans, RankTimeline, Timeline

__all__ = [
    "HOST",
    "CallPrices",
    "CallSpans",
    "HostWaits",
    "NoTimeline",
    "OperationPrices",
    "OperationSpans",
    "Player",
    "Prices",
    "RankTimeline",
    "Timeline",
    "player_of",
]
