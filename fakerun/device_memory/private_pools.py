"""PrivatePools: the private memory pools of a rank's devices, as a device program names, uses and releases them."""

from collections.abc import Callable, Mapping, Sequence

from fakerun.allocator.caching_allocator import CachingAllocator
from fakerun.allocator.statistics import PoolId
from fakerun.records.device_program import Opcode, PoolKind, PoolOrigin


class PoolNames:
    """Gives pools their identities, in torch's order (`MemPool::graph_pool_handle`, aten/src/ATen/cuda/MemPool.cpp)."""

    def __init__(self) -> None:
        self._of_graphs = self._of_others = 0

    def next(self, origin: PoolOrigin) -> PoolId:
        """The identity of the next pool."""
        if origin is PoolOrigin.GRAPH:
            self._of_graphs += 1
            return self._of_graphs, 0
        self._of_others += 1
        return 0, self._of_others


class PrivatePools:
    """The pools by number, in the order in which they were named. `kinds` may grow; `allocator_of` has that of a stream's device.

    A pool that was released and named anew by the program is another one here, too: a program that is replayed with other settings may
    still cache something in a pool that was empty when it was recorded.
    """

    def __init__(self, kinds: Sequence[PoolKind], allocator_of: Callable[[int], CachingAllocator]) -> None:
        self._kinds = kinds
        self._allocator_of = allocator_of
        self._names = PoolNames()
        self._ids: list[PoolId] = []
        self._named: list[PoolKind] = []
        self._kind_by_id: dict[PoolId, PoolKind] = {}
        self._with_kind: set[int] = set()
        self._serving: int | None = None
        self.by_opcode: Mapping[Opcode, Callable[[int, int], None]] = {
            Opcode.NAME_POOL: lambda kind, stream: self.name(kind),
            Opcode.HOLD_POOL: self.hold,
            Opcode.BEGIN_POOL: self.begin,
            Opcode.BEGIN_CAPTURE: lambda age, stream: self.begin(age, stream, capture=True),
            Opcode.END_POOL: lambda age, stream: self._allocator_of(stream).end_pool(self._ids[-1 - age]),
            Opcode.RELEASE_POOL: lambda age, stream: self._allocator_of(stream).release_pool(self._ids[-1 - age]),
            Opcode.DELETE_POOL: self.delete,
            Opcode.SERVE_FROM: lambda age, stream: self.serve_from(age),
        }

    def kind_of(self, pool_id: PoolId) -> PoolKind | None:
        """What a pool is; None of the default pool."""
        return self._kind_by_id.get(pool_id)

    def name(self, kind: int) -> None:
        """A pool of the kind with this number gets its identity."""
        self._named.append(self._kinds[kind])
        self._ids.append(self._identity(self._kinds[kind]))

    def _identity(self, kind: PoolKind) -> PoolId:
        pool_id = self._names.next(kind.origin)
        self._kind_by_id[pool_id] = kind
        return pool_id

    def hold(self, age: int, stream: int) -> None:
        """As HOLD_POOL: the first time as its kind says."""
        number = len(self._ids) - 1 - age
        kind = PoolKind() if number in self._with_kind else self._named[number]
        self._with_kind.add(number)
        self._renew_if_released(number, stream)
        self._allocator_of(stream).create_pool(
            self._ids[number], own_allocator=kind.own_allocator, use_on_oom=kind.use_on_oom, no_split=kind.no_split
        )

    def begin(self, age: int, stream: int, *, capture: bool = False) -> None:
        """As BEGIN_POOL, or BEGIN_CAPTURE. Nothing is served from it before SERVE_FROM."""
        number = len(self._ids) - 1 - age
        self._serving = None
        self._renew_if_released(number, stream)
        self._allocator_of(stream).begin_pool(self._ids[number], lambda stream: self._serving == number, capture=capture)

    def _renew_if_released(self, number: int, stream: int) -> None:
        allocator, pool_id = self._allocator_of(stream), self._ids[number]
        if allocator.has_pool(pool_id) and not allocator.pool_use_count(pool_id):
            self._ids[number] = self._identity(self._named[number])

    def delete(self, age: int, stream: int) -> None:
        """As DELETE_POOL (`MemPool::~MemPool`)."""
        allocator, pool_id = self._allocator_of(stream), self._ids[-1 - age]
        allocator.release_pool(pool_id)
        allocator.empty_cache(pool_id)

    def serve_from(self, age: int) -> None:
        """As SERVE_FROM."""
        self._serving = len(self._ids) - age if age else None
