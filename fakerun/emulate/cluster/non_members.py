"""Calls on a group that does not contain this rank: torch warns and does nothing, or raises. A warning becomes a finding, too."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import WARN_NOT_IN_GROUP


@contextmanager
def reported_non_members(context: EmulationContext) -> Iterator[None]:
    """Add a finding to torch's warning, until the context ends."""

    def warn(name: str) -> None:
        context.findings.note(
            FindingCode.NON_MEMBER,
            f"{name} is called on a group that does not contain this rank. torch warns and does nothing, and outputs keep their contents.",
            hint=f"Call {name} on members of the group only (`if dist.get_rank(group) >= 0`), or add this rank to the group.",
            subject=name,
        )
        # torch's own message (2.11 to 2.15), at the call in torch that checks the group.
        rank = dist.get_rank() if dist.is_initialized() else -1
        warnings.warn(f"Running {name} on global rank {rank} which does not belong to the given group.", stacklevel=2)

    with Patches() as patches:
        patches.set(*WARN_NOT_IN_GROUP, warn)
        yield
