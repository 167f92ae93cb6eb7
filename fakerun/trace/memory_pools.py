"""The private memory pools of the rank: who holds them, and which one serves an allocation, as the device program has it."""

from collections import defaultdict
from collections.abc import Callable

from fakerun.allocator.private_pools import DEFAULT_POOL
from fakerun.allocator.statistics import PoolId
from fakerun.device_memory.private_pools import PoolNames
from fakerun.errors import as_script_error
from fakerun.records.device_program import Instruction, Opcode, PoolKind, PoolOrigin
from fakerun.records.observer import StreamKey
from fakerun.trace.program import ProgramTrace
from fakerun.trace.program_point import ProgramPoint


class MemoryPoolTrace:
    """Implements `MemoryPools` (fakerun.records.observer).

    `is_kept` says whether the allocator of a device still has a pool that nothing holds, because a block of it is in use or cached.
    """

    def __init__(self, program: ProgramTrace, point: ProgramPoint, is_kept: Callable[[int, PoolId], bool]) -> None:
        self._program = program
        self._point = point
        self._is_kept = is_kept
        self._names = PoolNames()
        self._numbers: dict[PoolId, int] = {}
        self._kinds: dict[PoolKind, int] = {}
        self._held: defaultdict[tuple[int, PoolId], int] = defaultdict(int)
        self._begun: list[tuple[int, PoolId, Callable[[StreamKey], bool]]] = []
        self._serving = DEFAULT_POOL

    def name(self, origin: PoolOrigin, *, own_allocator: bool = False, use_on_oom: bool = False, no_split: bool = False) -> PoolId:
        pool = self._names.next(origin)
        self._add(
            pool,
            PoolKind(
                origin=origin,
                own_allocator=own_allocator,
                use_on_oom=use_on_oom,
                no_split=no_split,
                call_site=self._point.call_site(),
            ),
        )
        return pool

    def _add(self, pool: PoolId, kind: PoolKind) -> None:
        number = self._kinds.setdefault(kind, len(self._kinds))
        if number == len(self._program.pools):
            self._program.pools.append(kind)
        self._numbers[pool] = len(self._numbers)
        self._program.sequence.append(Instruction(Opcode.NAME_POOL, number))

    def hold(self, device: int, pool: PoolId) -> None:
        self._one_more(device, pool)
        self._issue(Opcode.HOLD_POOL, device, pool)

    def begin(self, device: int, pool: PoolId, applies: Callable[[StreamKey], bool], *, capture: bool = False) -> None:
        if any((device, pool) == (other_device, other) for other_device, other, _ in self._begun):
            raise as_script_error(RuntimeError("beginAllocateToPool: already recording to mempool_id"))
        self._one_more(device, pool)
        self._issue(Opcode.BEGIN_CAPTURE if capture else Opcode.BEGIN_POOL, device, pool)
        self._begun.append((device, pool, applies))
        self._serving = DEFAULT_POOL
        self._program.requesting = self._serve

    def end(self, device: int, pool: PoolId) -> None:
        others = [each for each in self._begun if each[:2] != (device, pool)]
        if len(others) == len(self._begun):
            raise as_script_error(RuntimeError("endAllocatePool: not currently recording to mempool_id"))
        self._begun = others
        self._issue(Opcode.END_POOL, device, pool)
        if not self._begun:
            self._program.requesting = None

    def release(self, device: int, pool: PoolId) -> None:
        self._one_less(device, pool)
        self._issue(Opcode.RELEASE_POOL, device, pool)

    def delete(self, device: int, pool: PoolId) -> None:
        self._one_less(device, pool)
        self._issue(Opcode.DELETE_POOL, device, pool)

    def use_count(self, device: int, pool: PoolId) -> int:
        return self._held[device, pool]

    def _one_more(self, device: int, pool: PoolId) -> None:
        if pool not in self._numbers:  # the script made up a handle
            self._add(pool, PoolKind(origin=PoolOrigin.HANDLE, call_site=self._point.call_site()))
        elif (device, pool) in self._held and not self._held[device, pool] and self._is_kept(device, pool):
            raise as_script_error(RuntimeError(f"memory pool {pool} was released; make another"))
        self._held[device, pool] += 1

    def _one_less(self, device: int, pool: PoolId) -> None:
        if not self._held[device, pool]:
            raise as_script_error(RuntimeError(f"memory pool {pool} is not in use"))
        self._held[device, pool] -= 1

    def _issue(self, opcode: Opcode, device: int, pool: PoolId) -> None:
        stream = self._program.stream_number((device, 0, None))
        self._program.sequence.append(Instruction(opcode, self._age(pool), stream))

    def _age(self, pool: PoolId) -> int:
        return len(self._numbers) - 1 - self._numbers[pool]

    def _serve(self, stream: StreamKey) -> None:
        """What is allocated for this stream now is served by the pool that was begun last of those that apply."""
        device = stream[0]
        applying = (pool for other, pool, applies in reversed(self._begun) if other == device and applies(stream))
        pool = next(applying, DEFAULT_POOL)
        if pool != self._serving:
            self._serving = pool
            self._program.sequence.append(Instruction(Opcode.SERVE_FROM, 0 if pool == DEFAULT_POOL else 1 + self._age(pool)))
