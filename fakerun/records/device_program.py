"""DeviceProgram: what the host of one rank asked of its devices, in the order in which it asked.

Allocated and reserved memory, the timeline of the streams and the pictures of both are derived from it. A training loop asks the same again
and again: an instruction that occurs often is stored once, and refers to what came before it by how long ago that was, so that each round
of a loop is the same sequence of numbers.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate

from fakerun.call_site import CallSite
from fakerun.records.memory import MemoryBlock

FRACTION_UNIT = 1e-9
"""What a fraction of a device's memory is counted in."""


class Opcode(StrEnum):
    """What an instruction asks for; each comment says what its `operand` and its `stream` are."""

    ALLOCATE = "allocate"
    """operand: the number of the block in `DeviceProgram.blocks`, which also has the stream."""
    FREE = "free"
    """operand: how many blocks were allocated after the one that is freed."""
    RECORD_STREAM = "record_stream"
    """The block is in use on `stream`, too: `Tensor.record_stream`. operand: as of FREE."""
    EXECUTE = "execute"
    """operand: the number of the operation in `DeviceProgram.operations`; stream: where it is queued."""
    COMMUNICATE = "communicate"
    """The next communication call of the rank that is on a device is issued. stream: the current one, for whose work the call waits."""
    WAIT_FOR_CALL = "wait_for_call"
    """stream waits for a communication call. operand: how many calls were issued after it."""
    RECORD_EVENT = "record_event"
    """An event that completes when the work queued on `stream` until now has."""
    WAIT_FOR_EVENT = "wait_for_event"
    """stream waits for an event. operand: how many events were recorded after it."""
    WAIT_FOR_STREAM = "wait_for_stream"
    """stream waits for all work queued on another. operand: the number of the other stream."""
    SYNCHRONIZE_EVENT = "synchronize_event"
    """The host waits for an event. operand: how many events were recorded after it."""
    SYNCHRONIZE_STREAM = "synchronize_stream"
    """The host waits for `stream`."""
    SYNCHRONIZE = "synchronize"
    """The host waits for a device. operand: its ordinal."""
    EMPTY_CACHE = "empty_cache"
    """The allocator gives what it holds in reserve back to all devices."""
    LIMIT_MEMORY = "limit_memory"
    """`set_per_process_memory_fraction`. operand: the fraction in units of `FRACTION_UNIT`; stream: the default one of the device."""
    CHANGE_SETTINGS = "change_settings"
    """The allocator's settings change. operand: the number of the text in `DeviceProgram.settings`."""
    BEGIN_PHASE = "begin_phase"
    """operand: the position of the phase in `Phase`."""
    BEGIN_REPLAY = "begin_replay"
    """A captured CUDA graph is launched. What follows until END_REPLAY is in the graph: the host does nothing for it."""
    REPLAY = "replay"
    """An operation of the graph is executed once more; its kernel takes no memory of the allocator's. operand and stream: as of EXECUTE."""
    END_REPLAY = "end_replay"
    """May follow the end of the step that the graph ends, and be missing in the last."""
    BEGIN_COMPILED = "begin_compiled"
    """A function that `torch.compile` compiles is called (operand 0), or backward of such a call begins (1). It runs eagerly."""
    USE_BLOCKS = "use_blocks"
    """The operation that was executed last is compiled code of the function that was begun last. operand: the number of what it reads and
    writes in `DeviceProgram.uses`. Operations between BEGIN_COMPILED and END_COMPILED without it are no compiled code: those of hooks, sums
    of gradients."""
    END_COMPILED = "end_compiled"
    """The function returned; what it made and still lives is its result or saved for backward. Or its backward ended."""
    NAME_POOL = "name_pool"
    """A private memory pool gets its identity. operand: the number of its kind in `DeviceProgram.pools`."""
    HOLD_POOL = "hold_pool"
    """A `MemPool`, or a graph, holds a pool on the device of `stream`, its default one, until RELEASE_POOL. operand, also of the following:
    how many pools were named after it."""
    BEGIN_POOL = "begin_pool"
    """Allocations on the device of `stream` may be served from a pool, which is held from now on."""
    BEGIN_CAPTURE = "begin_capture"
    """As BEGIN_POOL, because a CUDA graph is captured."""
    END_POOL = "end_pool"
    """They are no longer. The pool is still held."""
    RELEASE_POOL = "release_pool"
    """It is held once less."""
    DELETE_POOL = "delete_pool"
    """As RELEASE_POOL; then what the pool caches is given back, if nothing else holds it."""
    SERVE_FROM = "serve_from"
    """Allocations from now on are served from a pool where that has begun. operand: 0 for the default pool, else one more than how many
    pools were named after it."""
    FREE_WORKSPACES = "free_workspaces"
    """cuBLAS gives back its workspaces for `stream`."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One request to a device. `Opcode` tells what the numbers are."""

    opcode: Opcode
    operand: int = 0
    stream: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStream:
    """A CUDA stream of the device with this ordinal: the default one (`index` None), or one of the pool of its priority."""

    device: int
    priority: int = 0
    index: int | None = None

    @property
    def cuda_stream(self) -> int:
        """`torch.cuda.Stream.cuda_stream` in a simulation."""
        return 0 if self.index is None else stream_id(self.priority, self.index)


def stream_id(priority: int, index: int) -> int:
    """As c10/cuda/CUDAStream.cpp makes it (`makeStreamId`): the place in the pool, the pool (1 is that of priority 0), and a final 1."""
    return index << 5 | (1 - priority) << 1 | 1


@dataclass(frozen=True, slots=True)
class Operation:
    """An operator and the metadata of its arguments, as text: `aten.mm.default(bfloat16[8192,4096], bfloat16[4096,4096])`.

    A tensor is `dtype[sizes]`, followed by `{strides}` if it is not contiguous and by `@cpu` if it is on the host. A list is in brackets,
    with equal neighbours together (`[float32[8] x 3]`). Arguments that do not change the amount of work are left out, and so is None.
    `fakerun.device_memory.kernels.operands` reads the text.
    """

    name: str
    arguments: str
    results: str = ""
    """The tensors, and lists of tensors, that the operator made, in the order of its schema and in the form of the arguments; empty if it
    only changed arguments, and in records of older versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockUses:
    """The blocks that an operation of a compiled function reads and writes, each once.

    Blocks are numbered from 0 in the order in which the operations since BEGIN_COMPILED use them, in which an operation reads before it
    writes; so each call of a function has the same numbers. Blocks that an operation makes are those of the ALLOCATE instructions before
    its EXECUTE, in their order.
    """

    reads: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()


class PoolOrigin(StrEnum):
    """What gave a private memory pool its identity: (n, 0) if it is a graph that was given no pool, else (0, n)."""

    MEM_POOL = "MemPool"
    HANDLE = "graph_pool_handle"
    GRAPH = "CUDAGraph"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolKind:
    """What a private memory pool is; the arguments are those of `torch.cuda.MemPool`. `own_allocator`: it was given an allocator."""

    origin: PoolOrigin = PoolOrigin.MEM_POOL
    own_allocator: bool = False
    use_on_oom: bool = False
    no_split: bool = False
    call_site: CallSite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProgram:
    """The instructions of a rank: `order` has their numbers in `instructions`, in which each occurs once, as they were issued.

    `step_ends[k]` is the number of entries of `order` up to the end of training step k; what comes after the last belongs to a step that
    was not completed.
    """

    blocks: tuple[MemoryBlock, ...] = ()
    """Every kind of allocation once."""
    operations: tuple[Operation, ...] = ()
    streams: tuple[DeviceStream, ...] = ()
    settings: tuple[str, ...] = ()
    """Texts that the script gave to `torch.cuda.memory._set_allocator_settings`."""
    uses: tuple[BlockUses, ...] = ()
    """What the operations of compiled functions read and write."""
    pools: tuple[PoolKind, ...] = ()
    """The kinds of private memory pools."""
    instructions: tuple[Instruction, ...] = ()
    order: tuple[int, ...] = ()
    step_ends: tuple[int, ...] = ()

    def issued(self) -> Iterator[Instruction]:
        """The instructions as they were issued."""
        return map(self.instructions.__getitem__, self.order)


OF_POOLS = frozenset((Opcode.HOLD_POOL, Opcode.BEGIN_POOL, Opcode.BEGIN_CAPTURE, Opcode.END_POOL, Opcode.RELEASE_POOL, Opcode.DELETE_POOL))
"""Instructions that refer to a pool by how many were named after it."""

_OF_COMPILED_CODE = frozenset({Opcode.BEGIN_COMPILED, Opcode.USE_BLOCKS, Opcode.END_COMPILED})


def without_compiled_code(program: DeviceProgram) -> DeviceProgram:
    """The program without issuing what tells of compiled code, which asks the devices for nothing."""
    kept = [instruction.opcode not in _OF_COMPILED_CODE for instruction in program.instructions]
    if all(kept):
        return program
    kept_before = (0, *accumulate(map(kept.__getitem__, program.order)))
    return replace(
        program,
        order=tuple(filter(kept.__getitem__, program.order)),
        step_ends=tuple(map(kept_before.__getitem__, program.step_ends)),
    )


def check_program(program: DeviceProgram) -> None:
    """Check the numbers of a program that was read.

    Raises:
        ValueError: an instruction refers to something that is not there, or the end of a step to an instruction.
    """
    if program.order and not 0 <= min(program.order) <= max(program.order) < len(program.instructions):
        raise ValueError("an instruction is issued that is not there")
    if not all(0 <= end <= len(program.order) for end in program.step_ends):
        raise ValueError("a step ends at an instruction that is not there")
    if not all(0 <= block.stream < len(program.streams) for block in program.blocks):
        raise ValueError("a block is allocated on a stream that is not there")
    limits = {
        Opcode.ALLOCATE: len(program.blocks),
        Opcode.EXECUTE: len(program.operations),
        Opcode.REPLAY: len(program.operations),
        Opcode.USE_BLOCKS: len(program.uses),
        Opcode.WAIT_FOR_STREAM: len(program.streams),
        Opcode.CHANGE_SETTINGS: len(program.settings),
        Opcode.NAME_POOL: len(program.pools),
    }
    for instruction in program.instructions:
        if instruction.operand < 0 or instruction.operand >= limits.get(instruction.opcode, instruction.operand + 1):
            raise ValueError(f"{instruction.opcode.value} refers to something that is not there")
        if instruction.stream and not 0 <= instruction.stream < len(program.streams):
            raise ValueError(f"{instruction.opcode.value} is on a stream that is not there")
    _check_ages(program)


def _check_ages(program: DeviceProgram) -> None:
    """Check that what is referred to by its age has come before, that no block is freed twice, and no pool ended before it begins."""
    aged = {
        Opcode.RECORD_STREAM: Opcode.ALLOCATE,
        Opcode.WAIT_FOR_CALL: Opcode.COMMUNICATE,
        Opcode.WAIT_FOR_EVENT: Opcode.RECORD_EVENT,
        Opcode.SYNCHRONIZE_EVENT: Opcode.RECORD_EVENT,
        **dict.fromkeys(OF_POOLS, Opcode.NAME_POOL),
    }
    counted = dict.fromkeys((Opcode.ALLOCATE, Opcode.COMMUNICATE, Opcode.RECORD_EVENT, Opcode.NAME_POOL), 0)
    freed: set[int] = set()
    pools = _PoolUses()
    for instruction in program.issued():
        opcode = instruction.opcode
        if opcode in counted:
            counted[opcode] += 1
        elif opcode in OF_POOLS and instruction.operand < counted[Opcode.NAME_POOL]:
            pools.add(opcode, counted[Opcode.NAME_POOL] - 1 - instruction.operand, program.streams[instruction.stream].device)
        elif opcode is Opcode.FREE:
            block = counted[Opcode.ALLOCATE] - 1 - instruction.operand
            if block < 0 or block in freed:
                raise ValueError("a block is freed that is not allocated")
            freed.add(block)
        elif (opcode in aged and instruction.operand >= counted[aged[opcode]]) or (
            opcode is Opcode.SERVE_FROM and instruction.operand > counted[Opcode.NAME_POOL]
        ):
            raise ValueError(f"{opcode.value} refers to something that has not happened")


class _PoolUses:
    """How often each private pool is held on each device, and where it has begun."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], int] = {}
        self._begun: set[tuple[int, int]] = set()

    def add(self, opcode: Opcode, pool: int, device: int) -> None:
        """Follow an instruction.

        Raises:
            ValueError: it ends what has not begun, begins what has, or releases what is not held.
        """
        key = pool, device
        begins, releases = opcode in (Opcode.BEGIN_POOL, Opcode.BEGIN_CAPTURE), opcode in (Opcode.RELEASE_POOL, Opcode.DELETE_POOL)
        held = self._held.get(key, 0)
        if (begins and key in self._begun) or (opcode is Opcode.END_POOL and key not in self._begun) or (releases and not held):
            raise ValueError(f"{opcode.value} does not follow from what a memory pool was used for before")
        if begins:
            self._begun.add(key)
        elif opcode is Opcode.END_POOL:
            self._begun.remove(key)
        self._held[key] = held + (begins or opcode is Opcode.HOLD_POOL) - releases


def program_of(
    blocks: Sequence[MemoryBlock],
    sequence: Iterable[int | Instruction],
    *,
    operations: Sequence[Operation] = (),
    streams: Sequence[DeviceStream] = (),
    settings: Sequence[str] = (),
    uses: Sequence[BlockUses] = (),
    pools: Sequence[PoolKind] = (),
    step_ends: Sequence[int] = (),
) -> DeviceProgram:
    """The program of a sequence in which `i >= 0` allocates `blocks[i]`, the next one, and `~i` frees it; `step_ends` count its entries."""
    kinds: dict[MemoryBlock, int] = {}
    numbers: dict[Instruction, int] = {}
    allocations: dict[int, int] = {}
    frees: dict[int, int] = {}
    order = []
    allocated = 0
    for item in sequence:
        if type(item) is not int:
            number = numbers.setdefault(item, len(numbers))  # type: ignore[arg-type]
        elif item >= 0:
            kind = kinds.setdefault(blocks[item], len(kinds))
            if (known := allocations.get(kind)) is None:
                known = allocations[kind] = numbers.setdefault(Instruction(Opcode.ALLOCATE, kind), len(numbers))
            number = known
            allocated += 1
        else:
            age = allocated + item  # `~i` is -1 - i
            if (known := frees.get(age)) is None:
                known = frees[age] = numbers.setdefault(Instruction(Opcode.FREE, age), len(numbers))
            number = known
        order.append(number)
    return DeviceProgram(
        blocks=tuple(kinds),
        operations=tuple(operations),
        streams=tuple(streams),
        settings=tuple(settings),
        uses=tuple(uses),
        pools=tuple(pools),
        instructions=tuple(numbers),
        order=tuple(order),
        step_ends=tuple(step_ends),
    )
