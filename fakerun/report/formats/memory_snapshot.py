"""A memory snapshot: the pickle that `torch.cuda.memory._dump_snapshot` writes, for torch's memory visualiser.

Readers: torch/cuda/_memory_viz.py, and the page pytorch.org/memory_viz (torch/utils/viz/MemoryViz.js), whose unpickler takes protocols 2
to 4 and plain containers. Keys: `THCPModule_memorySnapshot` (torch/csrc/cuda/Module.cpp, 2.6) and the strings in the libraries of torch
2.11 and 2.14. There is no `time_us`: no time is known. The page colours by the `category` of entries, once any entry has one.
"""

import pickle
from collections.abc import Iterable, Mapping, Sequence
from sys import intern
from typing import Any

from fakerun.records.device_program import DeviceStream
from fakerun.records.memory import MemoryBlock
from fakerun.report.model import KERNELS, MemoryHistory, MemoryRequest, Report
from fakerun.report.page.detail import SHORT, Detail

_PROTOCOL = 4
_ADDRESSES_OF_A_DEVICE = 1 << 46
"""Readers look segments up by address alone. Below 2**53, where the page keeps it in a number of JavaScript, for 127 devices."""

_Frame = dict[str, Any]


def render(report: Report, /, *, detail: Detail = SHORT, color: bool = False, width: int | None = None) -> bytes:
    """Of the rank to show: all its devices, each at the CUDA index that it has on its node."""
    rank = report.largest
    writer = _Writer(rank.record.program.streams if rank else ())
    return pickle.dumps(writer.snapshot(report.needed_history.devices), protocol=_PROTOCOL)


class _Writer:
    """Makes torch's containers of a history.

    Texts are interned and what is equal is one object: the pickle refers to an object that it has, so equal reports have equal bytes.
    """

    def __init__(self, streams: Sequence[DeviceStream]) -> None:
        self._streams = [stream.cuda_stream for stream in streams]
        # By identity: to hash a block costs more than to write its entry. A program has each kind once.
        self._frames: dict[int, list[_Frame]] = {}
        self._known: dict[tuple[object, ...], _Frame] = {}
        self._notes: dict[tuple[int, object, int], str] = {}

    def snapshot(self, devices: Mapping[int, MemoryHistory]) -> dict[str, Any]:
        """`devices` by CUDA index, which is the position in `device_traces`."""
        traces: list[list[dict[str, Any]]] = [[] for _ in range(max(devices, default=0) + 1)]
        segments: list[dict[str, Any]] = []
        for order, (index, history) in enumerate(sorted(devices.items())):
            shift = order * _ADDRESSES_OF_A_DEVICE
            traces[index] = [*self._entries(history, shift), _marker(history)]
            segments += self._segments(history, index, shift)
        settings = next((history.settings.as_torch() for history in devices.values()), {})
        return {"segments": segments, "device_traces": traces, "allocator_settings": settings, "external_annotations": []}

    def _entries(self, history: MemoryHistory, shift: int) -> Iterable[dict[str, Any]]:
        for entry in history.entries:
            written = entry.as_torch()
            if "addr" in written:
                written["addr"] += shift
            written["stream"] = self._stream(entry.stream)
            written["frames"] = self._frames_of(entry.context)
            if isinstance(entry.context, MemoryRequest):
                written["user_metadata"] = self._note(entry.context)
                written["category"] = _category(entry.context)
            yield written

    def _segments(self, history: MemoryHistory, index: int, shift: int) -> Iterable[dict[str, Any]]:
        for segment in history.segments:
            written = segment.as_torch(index)
            written["address"] += shift
            written["stream"] = self._stream(segment.stream)
            written["frames"] = self._frames_of(history.segment_requests.get(segment.address))
            for block in written["blocks"]:
                request = history.requests.get(block["address"])
                block["address"] += shift
                block["frames"] = self._frames_of(request)
                if isinstance(request, MemoryRequest):
                    block["user_metadata"] = self._note(request)
            yield written

    def _stream(self, number: int) -> int:
        """0 is the default stream, also where a program has no streams."""
        return self._streams[number] if number < len(self._streams) else number

    def _note(self, request: MemoryRequest) -> str:
        """What the page shows as user metadata: `step 1, backward: activation bfloat16[2,4096]`."""
        what = request.what
        key = request.step, request.phase, id(what)
        note = self._notes.get(key)
        if note is None:
            text = f"{what.category} {what.dtype}[{','.join(map(str, what.shape))}]" if isinstance(what, MemoryBlock) else what.name
            where = f", {request.phase}" if request.phase else ""
            note = self._notes[key] = intern(f"step {request.step}{where}: {text}")
        return note

    def _frames_of(self, request: object) -> list[_Frame]:
        """Innermost first: the line, the modules around it from the inside out, and the category."""
        what = request.what if isinstance(request, MemoryRequest) else None
        frames = self._frames.get(id(what))
        if frames is None:
            frames = self._frames[id(what)] = [self._frame(*parts) for parts in _stack(what)]
        return frames

    def _frame(self, filename: str, line: int, name: str) -> _Frame:
        frame = self._known.get((filename, line, name))
        if frame is None:
            frame = self._known[filename, line, name] = {"filename": intern(filename), "line": line, "name": intern(name)}
        return frame


def _category(request: MemoryRequest) -> str:
    return intern(request.what.category.value) if isinstance(request.what, MemoryBlock) else KERNELS


def _stack(what: object) -> Iterable[tuple[str, int, str]]:
    """File, line and function of each frame."""
    if what is None:
        return
    if not isinstance(what, MemoryBlock):
        yield "kernel", 0, getattr(what, "name", "")
        yield "category", 0, KERNELS
        return
    if what.call_site is not None:
        yield what.call_site.path, what.call_site.line, what.call_site.function or "<module>"
    parts = what.module.split(".") if what.module else []
    for length in range(len(parts), 0, -1):
        yield "module", 0, ".".join(parts[:length])
    yield "category", 0, what.category.value


def _marker(history: MemoryHistory) -> dict[str, Any]:
    """What torch adds when a snapshot is taken. The page up to torch 2.14 fails unless some entry has the category `unknown`."""
    active = sum(block.nbytes for segment in history.segments for block in segment.blocks if block.state != "inactive")
    return {"action": "snapshot", "addr": 0, "size": active, "stream": 0, "frames": [], "category": "unknown"}
