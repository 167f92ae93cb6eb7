"""What a block of code does in a simulation that other code has used before."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fakerun.analysis.memory.timeline import timeline_of
from fakerun.rank.simulation import Simulation
from fakerun.records.collective import CollectiveRecord
from fakerun.records.memory import MemoryBlock


@dataclass(slots=True)
class Seen:
    """The blocks that it allocated, its collectives and the training steps that it completed. Filled at its end."""

    blocks: tuple[MemoryBlock, ...] = ()
    collectives: tuple[CollectiveRecord, ...] = ()
    steps: int = 0

    def where(self, **wanted: object) -> list[MemoryBlock]:
        """The blocks that have these attributes."""
        return [block for block in self.blocks if all(getattr(block, name) == value for name, value in wanted.items())]

    def one(self, **wanted: object) -> MemoryBlock:
        """The only block that has these attributes."""
        (block,) = self.where(**wanted)
        return block


@contextmanager
def watch(simulation: Simulation) -> Iterator[Seen]:
    """Record what the code in the context does."""
    before, seen = simulation.record(None), Seen()
    yield seen
    after = simulation.record(None)
    seen.blocks = timeline_of(after.program).blocks[len(timeline_of(before.program).blocks) :]
    seen.collectives = tuple(after.collectives)[len(before.collectives) :]
    seen.steps = after.steps - before.steps


def by_step(simulation: Simulation) -> Iterator[tuple[int, MemoryBlock]]:
    """Every block that was allocated, in order, and the training step in which it was."""
    memory = timeline_of(simulation.record(None).program)
    return ((memory.step_of(at), memory.blocks[event]) for at, event in enumerate(memory.events) if event >= 0)
