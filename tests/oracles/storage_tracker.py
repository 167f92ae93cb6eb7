"""An independent tracker of memory: what a real training on CPUs holds at its peak, in bytes of its tensors' storages.

torchrun --nproc-per-node 4 -m tests.oracles.storage_tracker OUT_DIR SIZE:KIND...

trains those kinds of scripts/dev/gpu/kinds_of_training.py one after the other over gloo, and writes OUT_DIR/rank_N.json: for each kind the
peaks in the optimizer's steps and elsewhere. Kinds of one rank are divided among the processes.

It imports nothing of fakerun. A storage counts from when an operator returns it until torch frees it, rounded up to 512 bytes as the
allocator of CUDA does. What a kernel takes while it runs does not count: operators return nothing of it. The CPU is device and host in one:
tensors that would be on the host of a GPU do not count, as far as they can be told (`on_host`).
"""

import gc
import json
import os
import runpy
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeGuard

import torch
import torch.distributed as dist
from torch.distributed._functional_collectives import AsyncCollectiveTensor
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import Optimizer, register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

STEPS = 2
UNIT_BYTES = 512
PROGRAM = Path(__file__).parents[2] / "scripts" / "dev" / "gpu" / "kinds_of_training.py"
OPTIMIZER_ON_HOST = "fsdp2-cpu-offload"
WRAPPERS = (DTensor, AsyncCollectiveTensor)
"""Tensors without memory of their own."""


def with_memory(value: object) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and not isinstance(value, WRAPPERS)


class StorageTracker(TorchDispatchMode):
    """Follows the storages of the tensors that operators return while it is active.

    `peaks`: the most bytes at once, in optimizers' steps and elsewhere. `optimizer_steps`: how many have ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peaks: Counter[str] = Counter()
        self.optimizer_steps = 0
        self.in_functional_collective = False
        self._within_steps = 0
        self._bytes = 0
        self._sizes: dict[int, int] = {}
        self._references: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._on_host: set[int] = set()
        self._held: dict[int, Sequence[torch.Tensor]] = {}  # what a functional collective was given, by the storage of its result
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for register, change in ((register_optimizer_step_pre_hook, 1), (register_optimizer_step_post_hook, -1)):
                stack.callback(register(partial(self._step, change)).remove)  # type: ignore[operator]
            stack.enter_context(self._following_resizes())
            stack.enter_context(HostFactories(self))
            super().__enter__()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._stack.close()

    def __torch_dispatch__(self, function: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, WRAPPERS) for kind in types):
            return NotImplemented  # they call operators on what they wrap, which come here
        self.in_functional_collective = function.namespace == "_c10d_functional"
        result = function(*args, **kwargs or {})
        storages = [tensor.untyped_storage() for tensor in tree_leaves(result) if with_memory(tensor)]
        for storage in storages:
            self.follow(storage)
            if self.in_functional_collective:
                self._hold_until_waited(function, storage, args)
        self.in_functional_collective = False
        return result

    def follow(self, storage: torch.UntypedStorage) -> None:
        """Count the storage with its present size from now on, until it is freed."""
        key = storage._cdata
        if storage.device.type != "cpu":  # a tensor without data, of which there are some in the propagation of shardings
            return
        if key not in self._references:
            self._references[key] = weakref.ref(storage, partial(self._freed, key))
        if key not in self._on_host:
            self._set(key, -(-storage.nbytes() // UNIT_BYTES) * UNIT_BYTES)

    def on_host(self, storage: torch.UntypedStorage) -> None:
        """Do not count the storage any more: on a GPU it would be on the host."""
        if storage._cdata in self._references:
            self._on_host.add(storage._cdata)
            self._set(storage._cdata, 0)

    def _hold_until_waited(self, function: Any, storage: torch.UntypedStorage, args: Sequence[Any]) -> None:
        """The handle of a functional collective, which torch keeps until the result is waited for, has what it was given."""
        if function is torch.ops._c10d_functional.wait_tensor.default:
            self._held.pop(storage._cdata, None)
        else:
            self._held[storage._cdata] = [tensor for tensor in tree_leaves(args) if with_memory(tensor)]

    def _freed(self, key: int, reference: object) -> None:
        self._set(key, 0)
        del self._references[key], self._sizes[key]
        self._on_host.discard(key)
        self._held.pop(key, None)

    def _set(self, key: int, nbytes: int) -> None:
        more = nbytes - self._sizes.get(key, 0)
        self._sizes[key] = nbytes
        self._bytes += more
        if more > 0:
            place = "optimizer" if self._within_steps else "elsewhere"
            self.peaks[place] = max(self.peaks[place], self._bytes)

    def _step(self, change: int, *_: object) -> None:
        """An optimizer's step begins or ends; one may be within another's."""
        self._within_steps += change
        if not self._within_steps:
            self.optimizer_steps += 1

    @contextmanager
    def _following_resizes(self) -> Iterator[None]:
        """No operator sees that FSDP empties storages and fills them again."""
        resize = torch.UntypedStorage.resize_

        def resized(storage: torch.UntypedStorage, size: int) -> Any:
            result = resize(storage, size)
            self.follow(storage)
            return result

        torch.UntypedStorage.resize_ = resized  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign]


class HostFactories(TorchFunctionMode):
    """Who asks for zeros or the tensor of a number without a device, or on "cpu", has it on the host: optimizers, for counts of steps.

    The program names its device by a `torch.device`.
    """

    def __init__(self, tracker: StorageTracker) -> None:
        super().__init__()
        self._tracker = tracker

    def __torch_function__(self, function: Any, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **kwargs or {})
        if function in (torch.zeros, torch.tensor) and isinstance((kwargs or {}).get("device", "cpu"), str):
            self._tracker.on_host(result.untyped_storage())
        return result


# -- what is not the same on CPUs over gloo -----------------------------------------------------------------------------------------------

ON_COPIES = (
    "_allgather_base_",
    "allgather_",
    "allgather_into_tensor_coalesced_",
    "_reduce_scatter_base_",
    "reduce_scatter_",
    "reduce_scatter_tensor_coalesced_",
    "alltoall_base_",
    "alltoall_",
    "send",
)
BELOW = torch._C._dispatch_keyset_full_after(torch._C.DispatchKey.BackendSelect)
ALL_REDUCTIONS = ("allreduce_", "allreduce_coalesced_")


@contextmanager
def communicating_on_copies(tracker: StorageTracker) -> Iterator[None]:
    """Within this context gloo works on copies, which are not counted.

    Its threads let go of tensors some time after a call is done, for which nobody waits here, its handles of sends when they are dropped.
    All-reductions keep their tensors, as DDP takes gradients from the handle; its buckets stay. Functional ones are not DDP's.
    """
    library = torch.library.Library("c10d", "IMPL")
    for name in (*ON_COPIES, *ALL_REDUCTIONS):
        operator = getattr(torch.ops.c10d, name).default
        kernel = on_copies if name in ON_COPIES else partial(on_copies_if_functional, tracker)
        library.impl(name, partial(kernel, operator), "BackendSelect", with_keyset=True)
    try:
        yield
    finally:
        library._destroy()


def on_copies_if_functional(tracker: StorageTracker, operator: Any, keyset: torch._C.DispatchKeySet, *args: Any) -> Any:
    if tracker.in_functional_collective:
        return on_copies(operator, keyset, *args)
    return operator.redispatch(keyset & BELOW, *args)


def on_copies(operator: Any, keyset: torch._C.DispatchKeySet, *args: Any) -> Any:
    """The kernel of a call: copy what it is given, wait, and copy what it changed."""
    leaves, structure = tree_flatten(args)
    copies = [leaf.detach().clone() if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
    result = operator.redispatch(keyset & BELOW, *tree_unflatten(copies, structure))
    if operator is torch.ops.c10d.send.default:
        return result
    dist.Work.unbox(result[-1] if isinstance(result, tuple) else result).wait()
    originals = {id(copy): leaf for copy, leaf in zip(copies, leaves, strict=True) if isinstance(leaf, torch.Tensor)}
    for copy in copies:
        if isinstance(copy, torch.Tensor):
            originals[id(copy)].detach().copy_(copy)
    return tree_map(lambda leaf: originals.get(id(leaf), leaf), result)


class SavedElsewhere(torch.autograd.graph.saved_tensors_hooks):
    """`save_on_cpu` where the device is a CPU, too: what is saved leaves the memory that is counted, and comes back as a copy."""

    def __init__(self, pin_memory: bool = False) -> None:
        def pack(tensor: torch.Tensor) -> torch.Tensor:
            with _disable_current_modes():
                return tensor.detach().clone()

        super().__init__(pack, lambda saved: torch.empty_like(saved).copy_(saved))


def leave_to_host(tracker: StorageTracker, optimizer: Optimizer, *_: object) -> None:
    """With FSDP's offloading, parameters and the optimizer are the host's. They are known after the first step: the peak begins anew."""
    if tracker.optimizer_steps > 1:
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            for tensor in (parameter, parameter.grad, *optimizer.state[parameter].values()):
                if tensor is not None:
                    tracker.on_host((tensor.to_local() if isinstance(tensor, DTensor) else tensor).untyped_storage())
    tracker.peaks.clear()


# -- the runs -----------------------------------------------------------------------------------------------------------------------------


def peaks_of(program: dict[str, Any], kind: str, size: str) -> dict[str, int]:
    """Train a kind and return its peaks."""
    gc.collect()
    with ExitStack() as stack:
        tracker = StorageTracker()
        stack.enter_context(communicating_on_copies(tracker))
        stack.enter_context(tracker)
        if kind == OPTIMIZER_ON_HOST:
            stack.callback(register_optimizer_step_post_hook(partial(leave_to_host, tracker)).remove)
        program["train"](kind, size, STEPS)
    if kind == OPTIMIZER_ON_HOST:
        del tracker.peaks["optimizer"]
    return dict(tracker.peaks)


def main() -> None:
    directory, *words = sys.argv[1:]
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.autograd.graph.save_on_cpu = SavedElsewhere  # type: ignore[misc, assignment]
    dist.init_process_group("gloo")  # one for all kinds: joining takes half a second
    dist.init_process_group = dist.destroy_process_group = lambda *args, **kwargs: None  # type: ignore[assignment]
    gc.disable()
    program = runpy.run_path(str(PROGRAM))
    kinds = [word.split(":")[::-1] for word in words]
    together = [item for item in kinds if program["KINDS"][item[0]].world_size > 1]
    alone = [item for item in kinds if program["KINDS"][item[0]].world_size == 1]
    peaks = {kind: peaks_of(program, kind, size) for kind, size in (*together, *alone[rank::ranks])}
    Path(directory, f"rank_{rank}.json").write_text(json.dumps(peaks))


if __name__ == "__main__":
    main()
