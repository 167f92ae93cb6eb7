"""HostTimes: how long the host takes to issue what a program asks of its devices, as a range."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTimes:
    """Seconds of the host for each operation with a kernel, each one without, each communication call, each event recorded or waited for.

    The time of an operation has in it what Python, modules, autograd and views take around it: views are not in a device program.
    `launch_s` passes from the time when a kernel is issued until it can start on an idle device, `gap_s` between two operations of one
    stream beyond what their costs have in them.

    The defaults are typical, and lie between `FAST_HOST` and `SLOW_HOST`. They depend on the processor, and are not measured on the
    user's.
    """

    operation_s: float = 30e-6
    view_s: float = 2e-6
    call_s: float = 25e-6
    event_s: float = 3e-6
    launch_s: float = 3e-6
    gap_s: float = 0.0


FAST_HOST = HostTimes(operation_s=10e-6, view_s=1.2e-6, call_s=15e-6, event_s=0.7e-6, launch_s=2e-6)
"""A fast processor and little Python: an operator alone takes 4 to 6 us. Assumed."""

SLOW_HOST = HostTimes(operation_s=55e-6, view_s=4.0e-6, call_s=50e-6, event_s=12e-6, launch_s=5e-6)
"""Virtual machines: eager steps and blocks of GPT-2 and Llama took 35 to 60 us of the host for each kernel on two machines beside an H100
and an H200, where an `add` alone took 8 and 16 us, a view 1.5 and 2.7 us, an event 10 and 12 us to record (`fakerun/hardware/measured`,
blocks and launches)."""
