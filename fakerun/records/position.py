"""RankPosition: where a running rank is. It is shown while the job runs and kept nowhere."""

from dataclasses import dataclass

from fakerun.call_site import CallSite

POSITION_REQUEST = "position"
"""What asks a rank for its position, on its control pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPosition:
    """`steps` are the training steps completed; `events` grows with all that is recorded of the rank; `call_site` is the line that runs."""

    steps: int
    events: int
    call_site: CallSite | None
