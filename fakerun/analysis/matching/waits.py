"""Results that nothing waits for."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache

from fakerun.analysis.matching.cast import Cast
from fakerun.analysis.matching.traces import Trace
from fakerun.analysis.matching.words import call
from fakerun.call_site import CallSite
from fakerun.records.finding_code import FindingCode
from fakerun.records.findings import Finding


def never_waited(cast: Cast) -> Iterator[Finding]:
    """One `never-waited` for each line whose results may be used before they are there.

    A line of which some calls were waited for is fine: the last one's turn may come after the end of the simulation.
    """
    ranks: dict[CallSite | None, list[tuple[int, int]]] = defaultdict(list)
    unwaited = cache(_unwaited)
    for rank, seat in cast.seats.items():
        if seat.record.failure is None:
            for site, index in unwaited(seat.trace).items():
                ranks[site].append((rank, index))
    for site, calls in ranks.items():
        yield Finding(
            code=FindingCode.NEVER_WAITED,
            message=f"nothing waits for {call(cast.record(*calls[0]))}: its result may be used before it is there.",
            ranks=tuple(rank for rank, _ in calls),
            call_site=site,
            hint="Call wait() on the handle before the result is used.",
        )


def _unwaited(trace: Trace) -> Mapping[CallSite | None, int]:
    """The lines that nothing waits for, with the first call of each."""
    calls = trace.schedule.calls
    waited = {call.call_site for call in calls if call.is_async and call.waited}
    lines: dict[CallSite | None, int] = {}
    for index, each in enumerate(calls):
        if not each.waited and each.call_site not in waited:
            lines.setdefault(each.call_site, index)
    return lines
