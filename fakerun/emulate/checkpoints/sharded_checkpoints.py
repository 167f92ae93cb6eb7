"""`torch.distributed.checkpoint`: a rank alone cannot plan a checkpoint of all ranks, and has no values to write.

Saving is skipped and told. Loading leaves tensors as they are, which have the right shapes already; what else the checkpoint holds (a
step, the place in the data) cannot be known, and is told too.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.metadata import Metadata

from fakerun.emulate.patching import Patches
from fakerun.records.observer import FindingSink


@contextmanager
def simulated_sharded_checkpoints(findings: FindingSink) -> Iterator[None]:
    """Replace `save`, `async_save` and `load` for as long as the context lasts."""

    def save(state_dict: Any, *args: Any, **kwargs: Any) -> Metadata:
        findings.note(
            "not-saved",
            f"torch.distributed.checkpoint was to save {len(state_dict)} entries{_place(kwargs)}; nothing was written.",
            hint="The objects that ranks exchange to plan a checkpoint are not among the collectives.",
        )
        return Metadata({})

    def async_save(state_dict: Any, *args: Any, **kwargs: Any) -> Future[Metadata]:
        done: Future[Metadata] = Future()
        done.set_result(save(state_dict, *args, **kwargs))
        return done

    def load(state_dict: Any, *args: Any, **kwargs: Any) -> None:
        findings.note(
            "not-loaded",
            f"torch.distributed.checkpoint was to load {len(state_dict)} entries{_place(kwargs)}; everything in them stays as it is.",
            hint="A script that continues from a step in its checkpoint starts from the beginning here.",
        )

    with Patches() as patches:
        for module in (dcp, state_dict_saver):
            patches.set_all(module, {"save": save, "async_save": async_save})
        for module in (dcp, state_dict_loader):
            patches.set(module, "load", load)
        yield


def _place(named: dict[str, Any]) -> str:
    return f" ({named['checkpoint_id']})" if named.get("checkpoint_id") is not None else ""
