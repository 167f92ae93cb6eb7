"""The module that the program is in, in forward and in backward, by its name in the user's model."""

import threading
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from fakerun.patching import Patches
from fakerun.records.observer import AutogradClock
from fakerun.torch_private import CHECKPOINT_WRAPPED, COMPILED_MODULE, FSDP_WRAPPED

_WRAPPERS = frozenset({FSDP_WRAPPED, CHECKPOINT_WRAPPED, COMPILED_MODULE})
_WRAPPING_ROOTS = frozenset({"DistributedDataParallel", "FullyShardedDataParallel", "DataParallel"})


def plain_name(name: str, root: nn.Module) -> str:
    """The dotted name of a module or parameter under `root` as in the user's own model, without what wrappers insert."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while (inner := _inside(root)) is not None:
        if parts[:1] == ["module"] and type(root).__name__ in _WRAPPING_ROOTS:
            del parts[0]
        root = inner
    return ".".join(parts)


def _inside(root: nn.Module) -> nn.Module | None:
    """The model that a wrapper around a whole model holds; None of anything else."""
    if type(root).__name__ in _WRAPPING_ROOTS:
        return root.get_submodule("module")
    return root.get_submodule(COMPILED_MODULE) if type(root).__name__ == "OptimizedModule" else None


def root_name(root: nn.Module) -> str:
    """What to call a whole model: the name of the user's class."""
    if (inner := _inside(root)) is not None:
        return root_name(inner)
    return type(root).__name__.removeprefix("FSDP") if isinstance(root, FSDPModule) else type(root).__name__


class ModuleStack:
    """The modules whose forward is running, innermost last; in backward, the module whose forward made the running graph node.

    Listeners: `root_entered` gets each module that no other module called, and `root_given` the same with its arguments. A part that
    runs again in backward (activation checkpointing) is not a root.
    """

    def __init__(self, clock: AutogradClock) -> None:
        self.root_entered: list[Callable[[nn.Module], None]] = []
        self.root_given: list[Callable[[nn.Module, Any], None]] = []
        self._clock = clock
        self._stack: list[str] = []
        self._root: nn.Module | None = None
        self._names: weakref.WeakKeyDictionary[nn.Module, str] = weakref.WeakKeyDictionary()
        self._roots: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()
        # In forward, graph nodes are numbered in order: those from `_starts[i]` on belong to `_owners[i]`.
        self._starts: list[int] = []
        self._owners: list[str | None] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow every module that is called meanwhile, with all of its hooks: FSDP and tensor parallelism communicate in theirs."""
        call = nn.Module.__call__
        watch, thread = self, threading.get_ident()

        # `self` is the module: torch's profiler looks for the modules that run by this name (torch 2.13).
        def call_watched(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread:  # modules that a thread of the script's runs are not inside those that run here
                return call(self, *args, **kwargs)
            if not watch._stack and not watch._clock.in_backward():
                watch._notify(self, (args, kwargs))
            watch._enter(self)
            try:
                return call(self, *args, **kwargs)
            finally:
                watch._leave()

        with Patches() as patches:
            patches.set(nn.Module, "__call__", call_watched)
            yield

    @property
    def depth(self) -> int:
        """How many modules' forwards are running, one inside the other."""
        return len(self._stack)

    def current(self) -> str | None:
        """The name of the module that the program is in; None outside every module."""
        if self._stack:
            return self._stack[-1]
        owner = self._of_running_node()
        if self._owners and self._owners[-1] != owner and torch.is_grad_enabled():
            # A function that calls no module is run again in backward: the node just made, and those to come, are its module's.
            self._nodes_belong(self._clock.next_sequence() - 1, owner)
        return owner

    def _of_running_node(self) -> str | None:
        """In backward, the name of the module whose forward made the graph node that is running."""
        sequence = self._clock.running_sequence()
        if sequence is None:
            return None
        position = bisect_right(self._starts, sequence) - 1
        return self._owners[position] if position >= 0 else None

    def _notify(self, root: nn.Module, given: Any) -> None:
        for listener in self.root_entered:
            listener(root)
        for listen in self.root_given:
            listen(root, given)

    def _enter(self, module: nn.Module) -> None:
        self._root = module if self._root is None else self._root
        for tree in (self._root, module):  # the root, because its parts may be new; it need not hold all that it calls
            if module not in self._names:
                self._learn_names(tree)
        self._stack.append(self._names[module])
        self._mark()

    def _leave(self) -> None:
        self._stack.pop()
        self._mark()
        if not self._stack:
            self._root = None  # do not keep it alive

    def _mark(self) -> None:
        """Nodes that are made from now on belong to the present module: in a part that is run again, to the one that it is part of."""
        self._nodes_belong(self._clock.next_sequence(), self._stack[-1] if self._stack else self._of_running_node())

    def _nodes_belong(self, start: int, owner: str | None) -> None:
        if self._starts and start <= self._starts[-1]:
            self._owners[-1] = owner  # no node was made since
        else:
            self._starts.append(start)
            self._owners.append(owner)

    def _learn_names(self, module: nn.Module) -> None:
        """Name the modules under `module`. A part of several trees keeps the name it has in the largest."""
        named = [(plain_name(name, module), part) for name, part in module.named_modules()]
        self._roots[module] = len(named)
        for name, part in named:
            if self._roots.get(part, 0) < len(named) or part not in self._names:
                self._names[part] = name or root_name(module)
