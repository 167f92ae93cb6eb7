"""Follows every device storage from allocation to free, and its category.

A storage is one block however many views and aliases it has; it is freed when the last of them dies; a resized storage is a new block.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from fakerun.call_site import CallSite
from fakerun.patching import Patches
from fakerun.records.collective import Phase
from fakerun.records.device_program import DeviceProgram
from fakerun.records.journal import Journal
from fakerun.records.memory import Category, MemoryBlock, rounded_size_bytes
from fakerun.records.observer import StreamKey
from fakerun.torch_private import storage_id
from fakerun.trace.devices import DeviceOrdinals
from fakerun.trace.program import ProgramTrace
from fakerun.trace.program_point import ProgramPoint

_DEVICE = "cuda"

_STRENGTH = {
    Category.TEMPORARY: 0,
    Category.INPUT: 1,
    Category.ACTIVATION: 1,
    Category.COMMUNICATION: 2,
    Category.BUFFER: 3,
    Category.GRADIENT: 4,
    Category.OPTIMIZER_STATE: 5,
    Category.PARAMETER: 6,
}
"""A block with several categories keeps the strongest."""

_GUESSES = (Category.TEMPORARY, Category.INPUT)
"""What a block is taken for when nothing is known but how and when it was made."""

_KEPT = (Category.PARAMETER, Category.GRADIENT, Category.OPTIMIZER_STATE, Category.BUFFER)


@dataclass(slots=True)
class Block:
    """A block whose category and module may still change."""

    nbytes: int
    requested_bytes: int
    category: Category
    phase: Phase
    module: str | None
    call_site: CallSite | None
    shape: tuple[int, ...]
    dtype: str
    cuda_index: int
    stream: int = -1
    """The number of the stream that it was allocated on; an empty one has none."""
    index: int = -1
    """The number of the block; an empty one has none."""
    pinned: bool = False
    """Holds gathered data and lives only for that: its category is final."""
    copy_of: "Block | None" = None
    """What the script copied into it outside of forward, backward and optimizer steps."""

    def freeze(self, device: int) -> MemoryBlock:
        """As a record; `device` is the ordinal of the block's device."""
        return MemoryBlock(
            nbytes=self.nbytes,
            requested_bytes=self.requested_bytes,
            category=self.category,
            phase=self.phase,
            module=self.module,
            call_site=self.call_site,
            shape=self.shape,
            dtype=self.dtype,
            device=device,
            stream=self.stream,
        )


@dataclass(slots=True)
class _Storage:
    """A living storage: the block that it occupies (None while it is empty) and the last block that it occupied."""

    reference: Any
    index: int | None
    last: Block


class MemoryTrace:
    """The rank's device memory: the blocks that it allocates and frees. Implements `AllocationObserver` (fakerun.records.observer)."""

    def __init__(self, point: ProgramPoint, program: ProgramTrace, devices: DeviceOrdinals, journal: Journal) -> None:
        self._journal = journal
        self._point = point
        self._program = program
        self._devices = devices
        self.blocks: list[Block] = []
        """All blocks by number."""
        self._optimizer_step_ends: list[int] = []
        self._live: dict[int, _Storage] = {}  # by address

    # -- allocations ----------------------------------------------------------------------------------------------------------------

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow storages that are resized meanwhile (FSDP frees and refills its buffers so)."""
        resize = torch.UntypedStorage.resize_

        def resize_and_note(storage: torch.UntypedStorage, size: int) -> Any:
            result = resize(storage, size)
            try:
                self._resized(storage)
            except torch.OutOfMemoryError:
                known = self._live[storage_id(storage)]
                resize(storage, 0 if known.index is None else known.last.requested_bytes)
                raise
            return result

        with Patches() as patches:
            patches.set(torch.UntypedStorage, "resize_", resize_and_note)
            yield

    def tensors_created(self, tensors: Sequence[torch.Tensor], *, derived: bool) -> None:
        """Account for the storages of these tensors that are new or have a new size."""
        live = self._live
        for tensor in tensors:
            device = tensor.device
            if device.type != _DEVICE:
                continue
            storage = tensor.untyped_storage()
            address = storage_id(storage)
            if address in live:
                self._resized(storage)
                continue
            block = self._first_look(tensor, derived)
            live[address] = _Storage(weakref.ref(storage, partial(self._died, address)), self._allocate(block), block)

    def copied(self, source: torch.Tensor, copy: torch.Tensor) -> None:
        """Remember what the script copies by itself: at the end `categorise_copies` says of what kind both are."""
        if source.numel() != copy.numel() or self._point.phase() is not Phase.OTHER:
            return
        for original, other in zip(self.blocks_of(source), self.blocks_of(copy), strict=False):
            if other is not original and other.copy_of is None:
                other.copy_of = original

    def optimizer_stepped(self) -> None:
        self._optimizer_step_ends.append(len(self._program))
        self._journal.optimizer_stepped()

    def end_of_optimizer_step(self, taken: int) -> int:
        """How many requests to the devices there were when so many optimizer steps had been taken."""
        return self._optimizer_step_ends[taken - 1]

    def program(self) -> DeviceProgram:
        """The device program up to now, with the blocks as they are known now."""
        blocks = [block.freeze(self._devices[block.cuda_index]) for block in self.blocks]
        ends = self._point.training_steps().ends
        return self._program.program(blocks, tuple(self._optimizer_step_ends[taken - 1] for taken in ends))

    def used_on_stream(self, tensor: torch.Tensor, stream: StreamKey) -> None:
        """Note that the storages of the tensor are in use on a stream."""
        for block in self.blocks_of(tensor):
            if block.index >= 0:
                self._program.used_on_stream(len(self.blocks) - 1 - block.index, stream)

    # -- categories -----------------------------------------------------------------------------------------------------------------

    def communication_buffers(self, tensors: Sequence[torch.Tensor]) -> None:
        """Note that the storages of these tensors hold communicated data and live only for that."""
        for tensor in tensors:
            self.categorise(tensor, Category.COMMUNICATION, pin=True)

    def gradients_kept(self, tensors: Sequence[torch.Tensor]) -> None:
        """Note that the storages of these tensors hold gradients."""
        for tensor in tensors:
            self.categorise(tensor, Category.GRADIENT)

    def categorise(self, tensor: torch.Tensor, category: Category, module: str | None = None, *, pin: bool = False) -> None:
        """Categorise a tensor's storage, or the storages that a wrapper (DTensor) wraps. With `pin` the category is final."""
        for block in self.blocks_of(tensor):
            if not block.pinned and _STRENGTH[category] >= _STRENGTH[block.category]:
                block.pinned = pin
                self._set_category(block, category, module or block.module)

    def categorise_input(self, tensor: torch.Tensor) -> None:
        """Note that the script hands a tensor to a model: what it computed outside of all modules for that is input, too."""
        for block in self.blocks_of(tensor):
            if block.category is Category.TEMPORARY and block.phase is Phase.OTHER:
                self._set_category(block, Category.INPUT, block.module)

    def categorise_copies(self) -> None:
        """A copy of what is kept (an average of the weights in a dictionary) is of that kind.

        So is, the other way round, what was made from nothing or read from a file and then copied into a parameter or an optimizer's
        state: a checkpoint that was loaded onto the device, a model before it was sharded.
        """
        copies = [block for block in self.blocks if block.copy_of is not None]
        for copy in copies:  # in order of allocation: a copy of a copy comes after it
            if copy.category in _GUESSES and copy.copy_of is not None and copy.copy_of.category in _KEPT:
                self._set_category(copy, copy.copy_of.category, copy.module)
        for copy in reversed(copies):
            source = copy.copy_of
            if source is not None and source.category is Category.INPUT and copy.category in (Category.PARAMETER, Category.OPTIMIZER_STATE):
                self._set_category(source, copy.category, source.module)

    def _set_category(self, block: Block, category: Category, module: str | None) -> None:
        if block.category is category and block.module == module:
            return
        block.category = category
        block.module = module
        if block.index >= 0:
            self._journal.categorised(block.index, category, module)

    def blocks_of(self, tensor: torch.Tensor) -> Iterator[Block]:
        """The blocks of a tensor's storage, or of the storages that a wrapper (DTensor) wraps."""
        for part in _parts(tensor):
            try:
                storage = part.untyped_storage()
            except (NotImplementedError, ValueError):  # wrappers of torch.func (grad, vmap) do not say of what; lazy parameters have none
                continue
            known = self._live.get(storage_id(storage))
            if known is not None:
                yield known.last

    # -- bookkeeping -----------------------------------------------------------------------------------------------------------------

    def _first_look(self, tensor: torch.Tensor, derived: bool) -> Block:
        """The block of a new tensor, as far as it is known when it is made; not yet counted."""
        point = self._point
        phase = point.phase()
        requested = tensor.untyped_storage().nbytes()
        return Block(
            nbytes=rounded_size_bytes(requested),
            requested_bytes=requested,
            category=self._first_guess(phase, derived),
            phase=phase,
            module=point.module(),
            call_site=point.call_site(),
            shape=tuple(tensor.shape),
            dtype=str(tensor.dtype).removeprefix("torch."),
            cuda_index=tensor.device.index,
        )

    def _allocate(self, block: Block) -> int | None:
        """Count a block, and its device as used; an empty one is none."""
        if block.requested_bytes == 0:
            return None
        device = block.cuda_index
        self._devices[device]
        block.stream = self._program.current_stream(device)
        index = len(self.blocks)
        self.blocks.append(block)
        self._program.begin_phase(block.phase)
        try:
            self._program.allocated(index, block.stream)
        except torch.OutOfMemoryError:
            del self.blocks[index]
            raise
        block.index = index
        self._journal.allocated(
            requested_bytes=block.requested_bytes,
            category=block.category,
            phase=block.phase,
            module=block.module,
            call_site=block.call_site,
            shape=block.shape,
            dtype=block.dtype,
            cuda_index=device,
            stream=block.stream,
        )
        return index

    def _first_guess(self, phase: Phase, derived: bool) -> Category:
        point = self._point
        if phase in (Phase.OTHER, Phase.FORWARD) and not derived and not point.in_module:
            return Category.INPUT
        if phase in (Phase.FORWARD, Phase.BACKWARD) and point.gradients_enabled:
            return Category.ACTIVATION  # in backward, gradients are on only while a checkpointed part is run again
        return Category.TEMPORARY

    def _free(self, index: int) -> None:
        self._program.freed(index)
        self._journal.freed(index)

    def _died(self, address: int, reference: Any) -> None:
        storage = self._live.pop(address)
        if storage.index is not None:
            self._free(storage.index)

    def _resized(self, resized: torch.UntypedStorage) -> None:
        storage = self._live.get(storage_id(resized))
        size = resized.nbytes()
        if storage is None or (size == storage.last.requested_bytes if storage.index is not None else size == 0):
            return
        old, last, index = storage.index, storage.last, None
        if size:
            # Growing takes the new block before it gives the old one back, as the allocator does for the copy between them.
            point = self._point
            last = replace(
                last,
                nbytes=rounded_size_bytes(size),
                requested_bytes=size,
                phase=point.phase(),
                call_site=point.call_site(),
            )
            index = self._allocate(last)
        storage.last, storage.index = last, index
        if old is not None:
            self._free(old)


def _parts(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The plain tensors inside a tensor: itself, or what a wrapper (DTensor) wraps."""
    if hasattr(tensor, "__tensor_flatten__"):
        for name in tensor.__tensor_flatten__()[0]:
            part = getattr(tensor, name)
            if isinstance(part, torch.Tensor):  # a DTensor lists its mesh, too
                yield from _parts(part)
    else:
        yield tensor
