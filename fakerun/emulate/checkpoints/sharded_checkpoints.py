"""`torch.distributed.checkpoint`: a rank alone cannot plan a checkpoint of all ranks, and has no values to write.

Saving is skipped, with a finding. It leaves stand-ins of the files that say that a checkpoint is whole: `.metadata`, with the shards of
the rank that saved, and a data file with what is no device tensor. Loading leaves device tensors unchanged, which have the right shapes
already; the rest is as it was saved in this run. Of a checkpoint from before the run it is unknown; a finding says so.
"""

import io
import os
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.default_planner import (
    DefaultLoadPlanner,
    DefaultSavePlanner,
    create_default_global_save_plan,
    create_default_local_save_plan,
)
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import LoadItemType, ReadItem
from torch.distributed.checkpoint.staging import AsyncStager
from torch.distributed.checkpoint.state_dict_saver import AsyncSaveResponse
from torch.distributed.checkpoint.stateful import Stateful
from torch.distributed.checkpoint.storage import StorageReader, StorageWriter

from fakerun.emulate.call_progress import Peers
from fakerun.emulate.checkpoints.overlay import Overlay
from fakerun.emulate.checkpoints.unwritten import LARGEST_VALUES, UnwrittenObject
from fakerun.emulate.context import EmulationContext
from fakerun.patching import Patches
from fakerun.records.finding_code import FindingCode
from fakerun.torch_private import device_types_of


@contextmanager
def simulated_sharded_checkpoints(context: EmulationContext) -> Iterator[None]:
    """Replace `save`, `async_save` and `load` until the context ends."""
    findings = context.findings
    stand_ins = _StandIns(context)

    def save(state_dict: Any, *args: Any, **kwargs: Any) -> Metadata:
        findings.note(
            FindingCode.NOT_SAVED,
            f"torch.distributed.checkpoint skipped saving {len(state_dict)} entries{_place(kwargs)}: a dry run has no values to write.",
            hint="The collectives with which ranks plan a checkpoint are missing from the report.",
        )
        return stand_ins.save(state_dict, _directory(args, kwargs))

    def async_save(state_dict: Any, *args: Any, **kwargs: Any) -> Future[Any] | AsyncSaveResponse:
        _require_a_host_backend(kwargs.get("process_group"))
        uploaded = _done(save(state_dict, *args, **kwargs))
        stager = kwargs.get("async_stager") or kwargs.get("storage_writer")
        # torch knows from the result of `stage` whether the copy to the host is in the background; there is nothing to copy here.
        if isinstance(stager, AsyncStager) and isinstance(stager.stage({}), Future):
            return AsyncSaveResponse(staging_completion=_done(None), upload_completion=uploaded)
        return uploaded

    def load(state_dict: Any, *args: Any, **kwargs: Any) -> None:
        if stand_ins.load(state_dict, _directory(args, kwargs)):
            return
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


class _StandIns:
    """The files of the checkpoints that this job has saved."""

    def __init__(self, context: EmulationContext) -> None:
        self._overlay = context.part(Overlay)
        self._rank = context.rank

    def save(self, state_dict: Mapping[str, Any], directory: str | None) -> Metadata:
        """Leave stand-ins in the directory, if it is one of this machine; what they say of the tensors of this rank."""
        planner = DefaultSavePlanner()
        planner.set_up_planner({key: each.state_dict() if isinstance(each, Stateful) else each for key, each in state_dict.items()})
        _, metadata = create_default_global_save_plan([create_default_local_save_plan(planner.state_dict, is_coordinator=True)])
        metadata.storage_data = {}
        if directory is not None:
            kept = {name: value for name, value in planner.state_dict.items() if _is_kept(value)}
            self._leave(os.path.join(directory, f"__{self._rank}_0.distcp"), UnwrittenObject(kept).encode())  # noqa: PTH118
            self._leave(os.path.join(directory, ".metadata"), pickle.dumps(metadata))  # noqa: PTH118  last, as torch does
        return metadata

    def _leave(self, path: str, data: bytes) -> None:
        content = self._overlay.new_stand_in()
        with self._overlay.real():
            content.write_bytes(data)
        self._overlay.stand_in(path, content)

    def load(self, state_dict: dict[str, Any], directory: str | None) -> bool:
        """Put what was saved into the state, if this run saved a checkpoint there."""
        saved = None if directory is None else self._saved(directory)
        if saved is None:
            return False
        states = {key: each.state_dict() if isinstance(each, Stateful) else each for key, each in sorted(state_dict.items())}
        planner = DefaultLoadPlanner()
        planner.set_up_planner(states)
        for name, value in planner.state_dict.items():
            if name not in saved:
                continue
            if isinstance(value, torch.Tensor):
                value.copy_(saved[name])
            else:
                index = MetadataIndex(name)
                nothing = torch.Size()
                item = ReadItem(LoadItemType.BYTE_IO, index, nothing, index, nothing, nothing)
                planner.load_bytes(item, io.BytesIO(UnwrittenObject(saved[name]).encode()))
        for key, each in state_dict.items():
            if isinstance(each, Stateful):
                each.load_state_dict(states[key])
            else:
                state_dict[key] = states[key]
        return True

    def _saved(self, directory: str) -> dict[str, Any] | None:
        """What ranks of this run have saved in the directory beside device tensors; this rank's own comes first."""
        if not os.path.exists(os.path.join(directory, ".metadata")):  # noqa: PTH110, PTH118  this asks the peers, if need be
            return None
        self._overlay.refresh(Peers.SIMULATED)
        files = sorted((name, entry.target) for name, entry in self._overlay.below(directory) if _DATA_FILE.fullmatch(name))
        own = [each for each in files if each[0] == f"__{self._rank}_0.distcp"]
        saved: dict[str, Any] = {}
        for _, target in (*reversed(files), *own):
            with self._overlay.real():
                stand_in = Path(target).read_bytes()
            saved |= UnwrittenObject.decode(stand_in).load(str)
        return saved if files else None


_DATA_FILE = re.compile(r"__[0-9]+_0\.distcp")


def _is_kept(value: Any) -> bool:
    """Whether the value is no device tensor, and small."""
    if not isinstance(value, torch.Tensor):
        return True
    return type(value) in (torch.Tensor, torch.nn.Parameter) and value.numel() * value.element_size() <= LARGEST_VALUES


def _directory(args: Sequence[Any], named: Mapping[str, Any]) -> str | None:
    """The directory of the checkpoint, None if it is not known or not on this machine."""
    storage = [getattr(each, "path", None) for each in (*args, *named.values()) if isinstance(each, (StorageReader, StorageWriter))]
    place = named.get("checkpoint_id") or next(iter(storage), None)
    return os.fspath(place) if isinstance(place, (str, os.PathLike)) and "://" not in str(place) else None


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
