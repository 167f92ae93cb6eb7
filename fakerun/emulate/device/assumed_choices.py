"""Choices by unknown scores, on which all ranks must agree: which of its candidates (experts) each token chooses.

A router's choices decide how much every rank sends to every other, and how much memory that takes. `--routing` states which choices to
assume. The indices that `topk` and similar operators return are then known, marked as assumed, and what follows from them is exact: counts,
permutations, splits. Every rank assumes the same for its own tokens, so that what one sends is what the other receives.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from fakerun.emulate.context import EmulationContext
from fakerun.emulate.device.known_values import ROUTING, largest_bytes
from fakerun.job.routing import Routing
from fakerun.torch_private import FakeTensor, schema_of

aten = torch.ops.aten

Rule = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]
"""From tokens (a column), the positions of their choices (a row) and the number of choices, the candidates, before the modulus."""

_CHOSEN: dict[Routing, Rule] = {
    Routing.BALANCED: lambda token, place, count: token * count + place,
    Routing.WORST: lambda token, place, count: place + 0 * token,
}

_ORDERED: dict[Routing, Rule] = {
    Routing.BALANCED: lambda token, place, count: token + place,  # any first few of the order are spread evenly
    Routing.WORST: lambda token, place, count: place + 0 * token,
}

_CHOICES = {
    **dict.fromkeys((aten.topk.default, aten.max.dim, aten.min.dim), (_CHOSEN, 1)),
    **dict.fromkeys((aten.argmax.default, aten.argmin.default, aten.multinomial.default), (_CHOSEN, None)),
    **dict.fromkeys((aten.sort.default, aten.sort.stable), (_ORDERED, 1)),
    **dict.fromkeys((aten.argsort.default, aten.argsort.stable), (_ORDERED, None)),
}
"""Operators that choose: by which rules, and which of their results the indices are (None: the only one)."""

ROUTING_FINDINGS = {
    Routing.BALANCED: (
        "the script reads a value that follows from choices among unknown scores (topk and similar operators, as in a router). With "
        "--routing balanced the choices are spread evenly.",
        "Real routing is uneven. --routing worst shows the extreme: every token chooses the first experts.",
    ),
    Routing.WORST: (
        "the script reads a value that follows from choices among unknown scores (topk and similar operators, as in a router). With "
        "--routing worst every token chooses the first candidates.",
        "The rank with the first experts, coordinate 0 of the expert axis, receives the most. Use --rank to choose which rank to simulate.",
    ),
}
"""For the finding: the message and the hint."""


class AssumedChoices:
    """Handlers of the operators that choose."""

    def __init__(self, context: EmulationContext) -> None:
        self._mode = context.mode
        self._routing = context.job.routing

    def register(self) -> None:
        """Answer the operators that choose."""
        for operator in _CHOICES:
            self._mode.handle(operator, self._choose)

    def _choose(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        output = self._mode.simulate_call(func, (), args, dict(kwargs))
        scores = args[0]
        if type(scores) is not FakeTensor or self._mode.known.of(scores) is not None:
            return output
        rules, position = _CHOICES[func]
        indices = output if position is None else output[position]
        dim = _dimension(func, args, kwargs)
        if dim is not None and scores.dim() > 0 and indices.numel() * 8 <= largest_bytes(torch.int64, assumed=ROUTING):
            reduced = indices.dim() < scores.dim()
            chosen = choices(rules[self._routing], indices.unsqueeze(dim).shape if reduced else indices.shape, dim, scores.shape[dim])
            self._mode.known.remember(indices, chosen.reshape(indices.shape), assumed=ROUTING)
        return output


def assumed_choices(context: EmulationContext) -> None:
    """Answer operators that choose as the job's routing says."""
    AssumedChoices(context).register()


def choices(rule: Rule, shape: Sequence[int], dim: int, candidates: int) -> torch.Tensor:
    """Indices of that shape, chosen along `dim` from that many candidates; the tokens are numbered over all other dimensions."""
    moved = [size for axis, size in enumerate(shape) if axis != dim % len(shape)]
    count = shape[dim]
    tokens = torch.arange(torch.Size(moved).numel(), device="cpu").unsqueeze(1)
    chosen = rule(tokens, torch.arange(count, device="cpu"), count) % max(candidates, 1)
    return chosen.reshape(*moved, count).movedim(-1, dim)


def _dimension(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """The dimension along which `func` chooses; None where it chooses one out of all."""
    if func is aten.multinomial.default:
        return -1
    for position, argument in enumerate(schema_of(func).arguments):
        if argument.name == "dim":
            dim: int | None = args[position] if position < len(args) else kwargs.get("dim", argument.default_value)
            return dim
    return None
