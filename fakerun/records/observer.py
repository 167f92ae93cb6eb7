"""The interface between `emulate`, which reports events, and `trace`, which records them. Neither imports the other; `rank` connects them.

There is one protocol for each subject, and a module of `emulate` takes the one that it needs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol, TypeAlias

from fakerun.mesh import Mesh
from fakerun.records.collective import CommunicationCall
from fakerun.records.device_program import PoolOrigin
from fakerun.records.finding_code import FindingCode
from fakerun.records.rank_function import Number, RankFunction

Tensor: TypeAlias = Any
"""A torch.Tensor; this room is torch-free."""

StreamKey: TypeAlias = tuple[int, int, int | None]
"""A CUDA stream: the CUDA index of its device, its priority, and its index in the pool of that priority; None is the default stream."""


@dataclass(frozen=True, slots=True)
class RecordMark:
    """A point in the record of a rank: the number of communication calls, optimizer steps and requests to the devices before it."""

    calls: int
    optimizer_steps: int
    requests: int


class AllocationObserver(Protocol):
    """Observes the device memory that operations allocate, and the purpose of tensors where only the emulation knows it."""

    def tensors_created(self, tensors: Sequence[Tensor], *, derived: bool) -> None:
        """An operation returned these simulated tensors; views and in-place results may be among them.

        `derived` is whether the operation read a simulated tensor. If not, it created the tensors from no input or from host data.
        """

    def copied(self, source: Tensor, copy: Tensor) -> None:
        """An operation copied all elements of one simulated tensor into another one, which it may have made."""

    def communication_buffers(self, tensors: Sequence[Tensor]) -> None:
        """These tensors hold only what was or will be communicated (FSDP's gathered parameters)."""

    def gradients_kept(self, tensors: Sequence[Tensor]) -> None:
        """These tensors are gradients that a wrapper (FSDP) keeps to accumulate into in the next backward."""

    def used_on_stream(self, tensor: Tensor, stream: StreamKey) -> None:
        """The storage of the tensor is in use on this stream, too (`Tensor.record_stream`)."""


class ExecutionObserver(Protocol):
    """Observes what is queued on the devices' streams, and who waits for it. Devices are CUDA indices as the script counts them."""

    def operation(self, name: str, arguments: str, results: str) -> int:
        """The number of an operator with the metadata of its arguments and of what it made, as text."""

    def executed(self, operation: int, device: int) -> None:
        """The operation of this number was queued on the current stream of the device."""

    def recorded_event(self, stream: StreamKey) -> int:
        """An event was recorded on the stream. Returns the number of this recording."""

    def waited_for_event(self, event: int, stream: StreamKey | None) -> None:
        """The stream (None: the host) waits for the recording of this number."""

    def waited_for_stream(self, waited_for: StreamKey, stream: StreamKey | None) -> None:
        """The stream (None: the host) waits for what is queued on `waited_for`."""

    def host_waited(self, device: int) -> None:
        """The host waits for what is queued on the current stream of the device, as where it reads a value."""

    def synchronized(self, device: int) -> None:
        """The host waits for all streams of the device."""

    def emptied_cache(self) -> None:
        """The script emptied the caching allocator's cache."""

    def freed_workspaces(self, stream: StreamKey) -> None:
        """The workspaces of cuBLAS for the stream were given back."""


class CompiledCodeObserver(Protocol):
    """Observes what runs of functions that `torch.compile` compiles. They run eagerly."""

    def began(self, *, in_backward: bool) -> None:
        """A compiled function is called, or backward of a call begins."""

    def executed(self, read: Sequence[Tensor], written: Sequence[Tensor]) -> None:
        """The operation that was executed last belongs to it, and read and wrote these tensors on devices."""

    def ended(self) -> None:
        """The function returned, or backward goes on with something else."""


class CommunicationObserver(Protocol):
    """Observes communication calls, in the order in which they are issued."""

    def communicated(self, call: CommunicationCall, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int:
        """A communication call was issued on these tensors. Returns the number of the call."""

    def waited_for(self, call: int) -> None:
        """The script waited for the asynchronous call of this number: the current stream waits for it."""

    def future_taken(self, call: int) -> None:
        """The script took the future of the call, and will wait for it where that is not seen."""

    def stream_waited_for(self, call: int) -> None:
        """The current stream waits for a call that the script has waited for before, or whose future it took."""

    def mark(self) -> RecordMark:
        """The current end of the record."""

    def replayed(self, since: RecordMark, until: RecordMark, *, captured_on: StreamKey, replayed_on: StreamKey) -> None:
        """What was recorded between two marks happens again without being run: operations, communication calls, optimizer steps."""


class TopologyObserver(Protocol):
    """Observes process groups and device meshes."""

    def process_group_created(self) -> None:
        """The script initialised torch.distributed or created another group."""

    def groups_created(self, groups: Sequence[tuple[int, ...]], callers: tuple[int, ...] | None) -> None:
        """The script, or a mesh of its own, created groups of these global ranks, by a call that `callers` must make; None is all."""

    def mesh_created(self, mesh: Mesh | None, groups: Mapping[str, tuple[int, ...]]) -> None:
        """The script created a device mesh; `groups` has the global ranks of this rank's group on each axis.

        `mesh` is None if the mesh holds other ranks than the job's, or holds them in another order.
        """


class FindingSink(Protocol):
    """Receives the findings of the emulation; keeps one per code, subject and call site.

    `subject` distinguishes findings of one code at one line.
    """

    def note(self, code: FindingCode, message: str, *, hint: str | None = None, subject: str = "") -> None: ...


class RankExpression(Protocol):
    """A function of the rank. Within a simulation equal ones are one object, as far as their number allows."""

    @property
    def function(self) -> RankFunction: ...


class RankUseObserver(Protocol):
    """Observes what the program asks of its rank."""

    def tested(self, expression: RankExpression, outcome: Number, frame: FrameType) -> None:
        """The program, in `frame`, tested the expression, whose value is `outcome`."""

    def unfollowed(self, kind: str, frame: FrameType) -> None:
        """The program, in `frame`, used a function of the rank in a way that cannot be followed; `UnfollowedUse` has the kinds."""


class ReadObserver(Protocol):
    """Observes the values that the script gets although nobody computed them: placeholders, and what other ranks are assumed to send."""

    def placeholder_read(self, what: str, *, reason: str, way_round: str) -> None:
        """The line that is running reads `what`, and why that is not known."""


class MemoryPools(Protocol):
    """The private memory pools of the devices' allocators, by torch's identities. Devices are CUDA indices."""

    def name(self, origin: PoolOrigin, *, own_allocator: bool = False, use_on_oom: bool = False, no_split: bool = False) -> tuple[int, int]:
        """The identity of a new pool; the arguments are those of `torch.cuda.MemPool`."""

    def hold(self, device: int, pool: tuple[int, int]) -> None:
        """One more refers to the pool.

        Raises:
            RuntimeError: nothing did, and the allocator has not yet given back what it holds.
        """

    def begin(self, device: int, pool: tuple[int, int], applies: Callable[[StreamKey], bool], *, capture: bool = False) -> None:
        """Serve what is allocated for a stream to which it applies from the pool, which is held from now on.

        It is asked in the thread that allocates. `capture`: a CUDA graph is captured.

        Raises:
            RuntimeError: that has begun already, or as `hold`.
        """

    def end(self, device: int, pool: tuple[int, int]) -> None:
        """No longer. The pool is still held.

        Raises:
            RuntimeError: that has not begun.
        """

    def release(self, device: int, pool: tuple[int, int]) -> None:
        """One less refers to the pool.

        Raises:
            RuntimeError: nothing does.
        """

    def delete(self, device: int, pool: tuple[int, int]) -> None:
        """As `release`, and what it caches is given back unless others hold it."""

    def use_count(self, device: int, pool: tuple[int, int]) -> int:
        """How many refer to the pool."""


class CachingAllocators(Protocol):
    """The caching allocators of the devices, after all that the rank has asked of them. Devices are CUDA indices, sizes are bytes."""

    @property
    def pools(self) -> MemoryPools: ...

    @property
    def backend(self) -> str:
        """The allocator that the settings select: `native`, or `cudaMallocAsync`, which is not simulated."""

    def begin(self) -> None:
        """The script uses CUDA for the first time, which is when torch reads the variables with the allocator's settings.

        Raises:
            ValueError: they are wrong; the message is torch's.
        """

    def statistics(self, device: int) -> Mapping[str, int]:
        """The counters, by the names that `torch.cuda.memory_stats` has for them."""

    def memory_info(self, device: int) -> tuple[int, int]:
        """What the device could still give, and what it has: `torch.cuda.mem_get_info`."""

    def snapshot(self) -> dict[str, Any]:
        """What `torch.cuda.memory._snapshot` returns."""

    def record_history(self, most_entries: int | None, *, clear: bool) -> None:
        """`torch.cuda.memory._record_memory_history`: have so many entries for each device in snapshots; None: record no longer."""

    def observe_out_of_memory(self, observer: Callable[[int, int, int, int], None]) -> None:
        """Call it before an allocation fails, with the device, the size of the request, the memory of the device and what of it is free."""

    def reset_peak(self, device: int) -> None: ...

    def reset_accumulated(self, device: int) -> None: ...

    def memory_fraction(self, device: int) -> float: ...

    def limit_memory(self, device: int, fraction: float) -> None:
        """`torch.cuda.set_per_process_memory_fraction`."""

    def change_settings(self, text: str) -> None:
        """`torch.cuda.memory._set_allocator_settings`.

        Raises:
            ValueError: torch refuses the text; the message is torch's.
        """

    def settings(self) -> str:
        """The text that was given last, by the environment or the script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observers:
    """What the emulation of one rank reports to, and the counters from which it answers the script's queries."""

    allocations: AllocationObserver
    execution: ExecutionObserver
    compiled_code: CompiledCodeObserver
    communication: CommunicationObserver
    topology: TopologyObserver
    findings: FindingSink
    rank_uses: RankUseObserver
    reads: ReadObserver
    allocators: CachingAllocators


class CurrentStreams(Protocol):
    """The streams on which work is queued now, in this thread."""

    def current(self, device: int) -> StreamKey:
        """That of the device with this CUDA index."""


class AutogradClock(Protocol):
    """What autograd is doing in this thread.

    Sequence numbers grow with every graph node created in forward; a node keeps its number in backward.
    """

    def in_backward(self) -> bool: ...

    def next_sequence(self) -> int:
        """The number that the next graph node will have."""

    def running_sequence(self) -> int | None:
        """The number of the node that backward is running; None outside backward and in nodes without a number."""
