"""How much of a report is shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """`trace` lists every collective call, where the format does not always; `tensors` is how many of the largest are listed at most.

    Without `tensors` that is the format's choice.
    """

    trace: bool = False
    tensors: int | None = None


SHORT = Detail()
"""What the format finds enough."""
