"""Runs: operations that a host issues to one stream without anything in between, as functions of two clocks.

A run that begins when the host is at `h` and the stream is free at `f` leaves the host at `h + host_s`, and the stream free at
`max(f + busy_s, h + slack_s + busy_s)`. That is exact: each operation starts when it is issued or when the one before it ends, whichever is
later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from fakerun.analysis.time.costs import OperationCost
from fakerun.analysis.time.host_times import HostTimes


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run, in seconds.

    `durations_s` and `issued_s` are of its operations with kernels: how long they take, and when they can start at the earliest, from the
    host's beginning of the run. `slack_s` is how far the stream must be behind the host for no operation to wait for the host; the one that
    needs most is issued at `critical_issue_s`, and takes `critical_busy_s` with all after it.
    """

    durations_s: Sequence[float]
    issued_s: Sequence[float]
    host_s: float
    busy_s: float
    critical_issue_s: float
    critical_busy_s: float
    slack_s: float

    def free_after(self, free: float, host: float, factor: float) -> float:
        """When the stream is free after the run, if each operation takes `factor` times as long as alone."""
        by_stream = free + self.busy_s * factor
        by_host = host + self.critical_issue_s + self.critical_busy_s * factor
        return by_stream if by_stream > by_host else by_host


def run_of(costs: Sequence[OperationCost | None], times: HostTimes, *, is_replayed: bool) -> Run:
    """The run of operations with these costs; one without a cost has no kernel. The host does nothing for replayed ones."""
    durations, issued, host = [], [], 0.0
    for cost in costs:
        if cost is None:
            host += 0.0 if is_replayed else times.view_s
        else:
            host += 0.0 if is_replayed else times.operation_s
            issued.append(host + times.launch_s)
            durations.append(cost.seconds + times.gap_s)
    ends = list(accumulate(durations, initial=0.0))
    busy = ends[-1]
    slacks = [issue - before for issue, before in zip(issued, ends, strict=False)]
    slack = max(slacks, default=0.0)
    critical = slacks.index(slack) if slacks else 0
    return Run(
        durations_s=durations,
        issued_s=issued,
        host_s=host,
        busy_s=busy,
        critical_issue_s=issued[critical] if issued else float("-inf"),
        critical_busy_s=busy - ends[critical] if issued else 0.0,
        slack_s=slack,
    )
