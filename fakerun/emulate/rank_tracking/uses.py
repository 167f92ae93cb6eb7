"""Uses of the rank by code that is not rewritten: torch's own, and Python's.

A size that depends on the rank is a test of its value: ranks with another size allocate and send something else. So is the length of a
slice of a tensor; where it begins makes no difference.
"""

import argparse
import builtins
import functools
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch.distributed.tensor import Shard
from torch.utils.data import DistributedSampler

from fakerun.call_site import Owner, owner
from fakerun.emulate.context import EmulationContext
from fakerun.emulate.rank_tracking.operations import callee
from fakerun.emulate.rank_tracking.tables import MAX_CLASSES, report_entries
from fakerun.emulate.rank_tracking.text import RankText
from fakerun.emulate.rank_tracking.tracker import RankTracker, note
from fakerun.emulate.rank_tracking.values import FOLLOWED, RankInt
from fakerun.patching import Patches
from fakerun.torch_private import CHUNKS_OF_PARAMETER, SPLIT_TENSOR, StridedShard

_SIZED = ("empty", "zeros", "ones", "rand", "randn", "randperm", "eye")
_SIZED_FIRST = ("full", "empty_strided", "empty_permuted")
_SIZED_METHODS = (
    *("new_empty", "new_zeros", "new_ones", "view", "reshape", "expand", "repeat", "tile", "unflatten", "split", "chunk"),
    *("resize_", "tensor_split"),
)

_VALUED = (
    *((torch, name, slice(1)) for name in ("tensor", "as_tensor", "scalar_tensor")),
    *((torch, name, slice(1, 2)) for name in ("full", "full_like")),
    *((torch.Tensor, name, slice(1, 2)) for name in ("fill_", "new_tensor")),
    (torch.Tensor, "new_full", slice(2, 3)),
)
"""Functions that make a tensor of numbers, and which of their arguments these are."""

Arguments = Sequence[Any]


@contextmanager
def observed_uses(context: EmulationContext, tracker: RankTracker) -> Iterator[None]:
    """Report the uses that functions of torch and of Python make of followed numbers and texts."""
    with Patches() as patches:
        _observe_sizes(context, tracker)
        for divide in (CHUNKS_OF_PARAMETER, *((placement, SPLIT_TENSOR) for placement in (Shard, StridedShard))):
            patches.set(*divide, _divided(getattr(*divide), tracker))
        patches.set(DistributedSampler, "__iter__", _sharded_data(DistributedSampler.__iter__))
        patches.set(argparse.ArgumentParser, "_get_value", _typed_value(getattr(argparse.ArgumentParser, "_get_value")))  # noqa: B009
        opened = _opened(builtins.open, tracker)
        patches.set(builtins, "open", opened)
        patches.set(io, "open", opened)
        patches.set(os, "stat", _status(os.stat, tracker))
        _let_yaml_write(patches)
        yield


def _observe_sizes(context: EmulationContext, tracker: RankTracker) -> None:
    def observe(owner: Any, name: str, sizes: Callable[[Arguments], Iterable[Any]]) -> None:
        context.functions.observe(owner, name, _sized(sizes, tracker))

    for name in _SIZED:
        observe(torch, name, lambda args: args)
    for name in _SIZED_FIRST:
        observe(torch, name, lambda args: args[:1])
    for name in _SIZED_METHODS:
        observe(torch.Tensor, name, lambda args: args[1:])
    for name in ("split", "chunk", "tensor_split", "reshape", "tile"):
        observe(torch, name, lambda args: args[1:])
    for place, name, values in _VALUED:
        context.functions.observe(place, name, _filled(values, tracker))
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        for place, compare in ((torch, name), (torch.Tensor, name), (torch.Tensor, f"__{name}__")):
            context.functions.observe(place, compare, _compared(tracker))
    context.functions.observe(torch, "arange", _counted(tracker))
    observe(torch.Tensor, "new_full", lambda args: args[1:2])
    observe(torch, "randint", lambda args: args[-1:])
    for place in (torch.Tensor, torch):
        observe(place, "narrow", lambda args: args[3:4])


def _sized(sizes: Callable[[Arguments], Iterable[Any]], tracker: RankTracker) -> Any:
    def observed(args: Arguments, kwargs: Mapping[str, Any]) -> None:
        for size in (*sizes(args), *(kwargs[name] for name in ("size", "shape", "length") if name in kwargs)):
            for number in size if isinstance(size, (tuple, list)) else (size,):
                if type(number) is not RankInt:
                    continue
                frame = sys._getframe(1)
                if not _divides(frame) and (program := _program(frame)) is not None:
                    tracker.tested(number.expression, number.plain, program)

    return observed


def _filled(values: slice, tracker: RankTracker) -> Any:
    """The values of a tensor, which are read from it unseen; those of one that torch makes are not the program's to read."""

    def observed(args: Arguments, kwargs: Mapping[str, Any]) -> None:
        given = (*args[values], *(kwargs[name] for name in ("data", "fill_value") if name in kwargs))
        if any(map(_is_made_of_the_rank, given)):
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and (owner(frame.f_code.co_filename) is Owner.FAKERUN or frame.f_globals.get("__name__") in _PASS_ON):
                frame = frame.f_back
            if frame is not None and owner(frame.f_code.co_filename) in (Owner.USER, Owner.INSTALLED):
                tracker.unfollowed("argument", frame)

    return observed


def _compared(tracker: RankTracker) -> Any:
    """A comparison with the numbers in a tensor on the host, of which the answer is read unseen."""

    def observed(args: Arguments, kwargs: Mapping[str, Any]) -> None:
        tensor, other = (*args, *kwargs.values())[:2]
        if isinstance(other, FOLLOWED) and isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu":
            frame = sys._getframe(1)
            if (program := _program(frame)) is not None and not _divides(frame):
                tracker.unfollowed("argument", program)

    return observed


def _counted(tracker: RankTracker) -> Any:
    """How many numbers `torch.arange` makes."""

    def observed(args: Arguments, kwargs: Mapping[str, Any]) -> None:
        bounds = [kwargs.get(name, default) for name, default in (("start", 0), ("end", 0), ("step", 1))]
        bounds[slice(1, 2) if len(args) == 1 else slice(len(args))] = args[:3]
        length = -((bounds[0] - bounds[1]) // bounds[2]) if any(map(_is_made_of_the_rank, bounds)) else 0
        if isinstance(length, FOLLOWED) and (program := _program(sys._getframe(1))) is not None:
            tracker.tested(length.expression, length.plain, program)

    return observed


_PASS_ON = frozenset({"torch.overrides", "torch.utils._device"})
"""Modules through which torch passes a call of the program's on to modes."""


def _is_made_of_the_rank(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) <= MAX_CLASSES and any(map(_is_made_of_the_rank, value))
    return isinstance(value, FOLLOWED)


def _program(frame: FrameType | None) -> FrameType | None:
    """The innermost frame of the program from this one on."""
    while frame is not None and owner(frame.f_code.co_filename) not in (Owner.USER, Owner.INSTALLED):
        frame = frame.f_back
    return frame


def _divides(frame: FrameType | None) -> bool:
    """Whether torch.distributed asks, which tests the rank itself to divide a tensor."""
    while frame is not None and owner(frame.f_code.co_filename) is Owner.FAKERUN:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__", "").startswith("torch.distributed.")


def _divided(original: Any, tracker: RankTracker) -> Any:
    """What a tensor is divided into, of which torch takes the one of the rank: the last ones may be smaller, or empty."""

    class Shares(list[Any]):
        def __getitem__(self, place: Any) -> Any:
            if type(place) is RankInt and (program := _program(sys._getframe(1))) is not None:
                sizes = [tuple(share.shape) if isinstance(share, torch.Tensor) else share for share in self]
                report_entries(sizes, place.expression, place.plain, tracker, program)
            return super().__getitem__(place)

    @functools.wraps(original)
    def divide(*args: Any, **more: Any) -> Any:
        shares = original(*args, **more)
        return tuple(map(Shares, shares)) if isinstance(shares, tuple) else Shares(shares)

    return divide


def _sharded_data(original: Any) -> Any:
    def iterate(sampler: Any) -> Any:
        if isinstance(sampler.rank, FOLLOWED):
            note("index")
        return original(sampler)

    return iterate


def _typed_value(original: Any) -> Any:
    """An option whose default is a variable: `type=int` converts it inside argparse."""

    def get_value(parser: Any, action: Any, text: str) -> Any:
        if type(text) is RankText and action.type in (int, float):
            return callee(action.type)(text)
        return original(parser, action, text)

    return get_value


def _let_yaml_write(patches: Patches) -> None:
    """PyYAML chooses by the type of a value how to write it; if it is loaded already, it is not rewritten."""
    yaml = sys.modules.get("yaml")
    for representer in () if yaml is None else (yaml.representer.SafeRepresenter, yaml.representer.Representer):
        for kind in (*FOLLOWED, RankText):
            patches.set_item(representer.yaml_representers, kind, lambda self, value: self.represent_data(value.plain))


def _opened(original: Any, tracker: RankTracker) -> Any:
    def opened(file: Any, mode: str = "r", *args: Any, **more: Any) -> Any:
        if not set(mode) & set("wax+"):
            _report_file(file, tracker, sys._getframe(1))
        return original(file, mode, *args, **more)

    return opened


def _status(original: Any, tracker: RankTracker) -> Any:
    """Whether there is a file: `os.path.exists` and `Path.is_file` ask so."""

    def status(path: Any, *args: Any, **more: Any) -> Any:
        _report_file(path, tracker, sys._getframe(1))
        return original(path, *args, **more)

    return status


def _report_file(path: Any, tracker: RankTracker, caller: FrameType | None) -> None:
    """Report a file name made of the rank; not one that fakerun asks for."""
    if not tracker.file_names.are_in(path):
        return
    while caller is not None and owner(caller.f_code.co_filename) is Owner.PYTHON:
        caller = caller.f_back
    if caller is not None and owner(caller.f_code.co_filename) is not Owner.FAKERUN and (program := _program(caller)) is not None:
        tracker.unfollowed("text", program)
