"""Which groups of ranks hold parameters alike: those that add up gradients, as DDP does, by all-reduces of the last training step."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from fakerun.records.collective import CollectiveOp, CollectiveRecord, Phase


@dataclass(frozen=True, slots=True)
class GradientReduction:
    """What a group all-reduces outside of forward and the optimizer in one step: so many elements in all."""

    group: str
    group_size: int
    elements: int

    def is_of(self, elements: int) -> bool:
        """Whether it may be the gradients of parameters with so many elements, once or for each of several microbatches."""
        return 0 < elements <= self.elements and self.elements % elements == 0


def gradient_reductions(collectives: Iterable[CollectiveRecord], steps: int) -> tuple[GradientReduction, ...]:
    """What each group of several ranks all-reduces in the last of so many completed steps, but for single numbers (norms, losses)."""
    totals: defaultdict[tuple[str, int], int] = defaultdict(int)
    for call in collectives:
        if call.step == steps - 1 and call.op is CollectiveOp.ALL_REDUCE and call.phase in (Phase.BACKWARD, Phase.OTHER):
            elements = sum(map(prod, call.input_sizes))
            if call.group_size > 1 and elements > 1 and call.device is not None:
                totals[call.group or "its group", call.group_size] += elements
    return tuple(GradientReduction(group, size, elements) for (group, size), elements in totals.items())
