"""HostTimes: how long the host takes to issue what a program asks of its devices."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTimes:
    """Seconds of the host for each operation with a kernel, each one without, each communication call, each event recorded or waited for.

    `launch_s` passes from the time when a kernel is issued until it can start on an idle device, `gap_s` between two operations of one
    stream. The figures are typical, and assumed: they depend on the processor, and are not measured on the user's.
    """

    operation_s: float = 6e-6
    view_s: float = 1.5e-6
    call_s: float = 25e-6
    event_s: float = 0.7e-6
    launch_s: float = 0.0
    gap_s: float = 0.0
