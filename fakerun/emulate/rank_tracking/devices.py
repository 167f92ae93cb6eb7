"""A device whose number is the one that the rank has on its node: no device knows what it was made of, and C compares it unseen."""

import sys
from typing import Any

import torch

from fakerun.emulate.rank_tracking.text import RankText
from fakerun.emulate.rank_tracking.tracker import active
from fakerun.records.rank_function import RankOperation


def is_own_device(device: torch.device) -> bool:
    """Whether the device is the rank's own by its number, as it is with `cuda:LOCAL_RANK`."""
    tracker = active.tracker
    return tracker is not None and device.type != "cpu" and device.index == tracker.values[RankOperation.LOCAL_RANK]


def text_of_device(device: torch.device) -> str:
    """`cuda:3`, followed if the device is the rank's own."""
    tracker = active.tracker
    if tracker is None or not is_own_device(device):
        return str(device)
    return RankText.of(str(device), (f"{device.type}:", tracker.expressions.leaf(RankOperation.LOCAL_RANK)))


class ComparedDevice:
    """The rank's own device, as one side of a comparison: with a device of another number it is a test of the number on the node, with
    one of the same number it is not: `a.device == b.device` is so on all ranks.
    """

    __slots__ = ("device",)

    def __init__(self, device: torch.device) -> None:
        self.device = device

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> Any:
        if isinstance(other, ComparedDevice):
            return self.device == other.device
        tracker = active.tracker
        if tracker is not None and isinstance(other, torch.device) and other.type == self.device.type and other.index is not None:
            expressions = tracker.expressions
            own, number = expressions.leaf(RankOperation.LOCAL_RANK), expressions.constant(other.index)
            tracker.test(RankOperation.EQ, own, number, int(self.device.index == other.index), sys._getframe(1))
        return self.device == other
