"""OutOfMemory: what happens in a rank when a device has no memory left."""

from enum import StrEnum

from fakerun.job.choice import choice_named


class OutOfMemory(StrEnum):
    """What becomes of an allocation that the device has no memory for."""

    REPORT = "report"
    """It succeeds, and the report says that the job does not fit."""

    RAISE = "raise"
    """It raises torch.OutOfMemoryError, as on the device."""


DEFAULT_OUT_OF_MEMORY = OutOfMemory.REPORT


def out_of_memory_named(name: str) -> OutOfMemory:
    """What has this name.

    Raises:
        UsageError: the name is unknown.
    """
    return choice_named(OutOfMemory, "oom", name)
