"""`torch.distributed.checkpoint`: a rank alone cannot plan a checkpoint of all ranks, and has no values to write.

Saving is skipped, with a finding. Loading leaves tensors unchanged, which have the right shapes already. Other contents of the checkpoint
(the step, the position in the data) are unknown; a finding says so.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.staging import AsyncStager
from torch.distributed.checkpoint.state_dict_saver import AsyncSaveResponse

from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import device_types_of


@contextmanager
def simulated_sharded_checkpoints(context: EmulationContext) -> Iterator[None]:
    """Replace `save`, `async_save` and `load` until the context ends."""
    findings = context.findings

    def save(state_dict: Any, *args: Any, **kwargs: Any) -> Metadata:
        findings.note(
            FindingCode.NOT_SAVED,
            f"torch.distributed.checkpoint skipped saving {len(state_dict)} entries{_place(kwargs)}: a dry run has no values to write.",
            hint="The collectives with which ranks plan a checkpoint are missing from the report.",
        )
        return Metadata({})

    def async_save(state_dict: Any, *args: Any, **kwargs: Any) -> Future[Any] | AsyncSaveResponse:
        _require_a_host_backend(kwargs.get("process_group"))
        uploaded = _done(save(state_dict, *args, **kwargs))
        stager = kwargs.get("async_stager") or kwargs.get("storage_writer")
        # torch knows from the result of `stage` whether the copy to the host is in the background; there is nothing to copy here.
        if isinstance(stager, AsyncStager) and isinstance(stager.stage({}), Future):
            return AsyncSaveResponse(staging_completion=_done(None), upload_completion=uploaded)
        return uploaded

    def load(state_dict: Any, *args: Any, **kwargs: Any) -> None:
        findings.note(
            FindingCode.NOT_LOADED,
            f"torch.distributed.checkpoint skipped loading {len(state_dict)} entries{_place(kwargs)}: they keep the values they have.",
            hint="A script that resumes from a step in the checkpoint starts from the first step here.",
        )

    with Patches() as patches:
        for module in (dcp, state_dict_saver):
            patches.set_all(module, {"save": save, "async_save": async_save})
        for module in (dcp, state_dict_loader):
            patches.set(module, "load", load)
        yield


def _require_a_host_backend(group: dist.ProcessGroup | None) -> None:
    """Raise what torch raises for a group without a CPU backend."""
    if dist.is_initialized() and torch.device("cpu") not in device_types_of(group or dist.group.WORLD):
        raise AssertionError("A CPU backend must be enabled for async save; try initializing process group with 'cpu:gloo,cuda:nccl'")


def _done(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


def _place(named: dict[str, Any]) -> str:
    return f" ({named['checkpoint_id']})" if named.get("checkpoint_id") is not None else ""
