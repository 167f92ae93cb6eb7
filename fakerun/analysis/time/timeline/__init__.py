"""Hosts, streams and communicators of all ranks, played with given costs of operations and calls.

1. `spans`: Timeline, what comes out: when each operation and each call ran.
"""

from fakerun.analysis.time.timeline.spans import HOST, CallSpans, HostWaits, NoTimeline, OperationSpans, RankTimeline, Timeline

__all__ = ["HOST", "CallSpans", "HostWaits", "NoTimeline", "OperationSpans", "RankTimeline", "Timeline"]
